import FoundationEssentials
import LinuxSystem
import Rules

/// What the daemon restores at start: everything that was applied.
struct DaemonState: Hashable, Sendable, Codable {
  /// Of this format. Those before are read, too: 1 had no wires, 2 rule sets as JSON.
  static let version = 3

  struct Attachment: Hashable, Sendable, Codable {
    var interface: String
    var options: AttachmentOptions
    /// Nil: attached, and nothing applied yet.
    @InTextForm var ruleSet: RuleSet?
    var slots: SlotTable
    var generation: UInt64
    var attachedAtNanoseconds: UInt64
    /// Where the rule set waits for a confirmation. Files from before there were trials have none.
    var trial: Trial?
  }

  struct Wire: Hashable, Sendable, Codable {
    var options: WireOptions
    var createdAtNanoseconds: UInt64
  }

  var version = DaemonState.version
  /// Of this writing of the file. Changes in the journal say behind which they were made: it may still be there after a crash,
  /// with changes that the file has. Files of the daemons before have none.
  var number: UInt64 = 0
  var attachments: [Attachment] = []
  var wires: [Wire] = []

  init(number: UInt64 = 0, attachments: [Attachment] = [], wires: [Wire] = []) {
    self.number = number
    self.attachments = attachments
    self.wires = wires
  }

  init(from decoder: any Decoder) throws {
    let members = try decoder.container(keyedBy: CodingKeys.self)
    version = try members.decode(Int.self, forKey: .version)
    number = try members.decodeIfPresent(UInt64.self, forKey: .number) ?? 0
    attachments = try members.decode([Attachment].self, forKey: .attachments)
    wires = version < 2 ? [] : try members.decode([Wire].self, forKey: .wires)
  }
}

/// A rule set as text inside of JSON: half the time that its own JSON takes to be written, which every apply waits for, and
/// a tenth of the bytes. JSON is read, too.
@propertyWrapper
struct InTextForm: Hashable, Sendable, Codable {
  var wrappedValue: RuleSet?

  init(wrappedValue: RuleSet?) { self.wrappedValue = wrappedValue }

  init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if value.decodeNil() {
      wrappedValue = nil
    } else if let text = try? value.decode(String.self) {
      // With the ends of its elements it may be longer than what anybody may send.
      wrappedValue = try RuleSetText.parse(text, byteCountMax: .max)
    } else {
      wrappedValue = try value.decode(RuleSet.self)
    }
  }

  func encode(to encoder: any Encoder) throws {
    var value = encoder.singleValueContainer()
    if let wrappedValue { try value.encode(RuleSetText.print(wrappedValue)) } else { try value.encodeNil() }
  }
}

extension KeyedDecodingContainer {
  func decode(_ type: InTextForm.Type, forKey key: Key) throws -> InTextForm {
    try decodeIfPresent(type, forKey: key) ?? InTextForm(wrappedValue: nil)
  }
}

/// The state file: JSON, replaced whole, readable by its owner alone.
struct StateStore: Sendable {
  static let fileName = "state.json"
  let path: String

  init(directory: String) { path = "\(directory)/\(StateStore.fileName)" }

  /// An empty state where there is no file yet. A file that can't be understood is an error: nobody's filters vanish
  /// because of a torn disk.
  func load() throws(ControlError) -> DaemonState {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try SmallFile.read(path, byteCountMax: .max)  // the daemon's own, and as long as it has written
    } catch {
      if error.codeName == "ENOENT" { return DaemonState() }
      throw ControlError(error)
    }
    do {
      let state = try JSONDecoder().decode(DaemonState.self, from: Data(bytes))
      guard (1...DaemonState.version).contains(state.version) else {
        throw ControlError(
          .failedPrecondition, "\(path) has format \(state.version), and this daemon knows \(DaemonState.version)")
      }
      return state
    } catch let error as ControlError {
      throw error
    } catch {
      throw ControlError(
        .failedPrecondition,
        "\(path) cannot be read as the daemon's state (\(error)); move it away to start with nothing attached")
    }
  }

  /// Returns when the state is on the disk.
  func save(_ state: DaemonState) throws(ControlError) {
    let bytes: [UInt8]
    do {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .withoutEscapingSlashes]
      bytes = Array(try encoder.encode(state))
    } catch {
      throw ControlError(.internal, "encode the daemon's state: \(error)")
    }
    do throws(SystemError) {
      try SmallFile.replace(path, with: bytes)
    } catch {
      throw ControlError(
        .failedPrecondition, "the state could not be kept, so nothing was changed: \(error)")
    }
  }
}
