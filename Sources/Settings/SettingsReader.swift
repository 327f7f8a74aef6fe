import Glibc

/// Finds each setting in the flags, the environment or the file, in this order, and checks it. Faults are gathered.
struct SettingsReader {
  private let flags: [String: String]
  private let environment: [String: String]
  private let file: SettingsFile?
  private var faults: [SettingsError.Fault] = []

  init(flags: [String: String], environment: [String: String], file: String?) throws(SettingsError) {
    self.flags = flags
    self.environment = environment
    for key in flags.keys.sorted() where !Setting.all.contains(where: { $0.key == key }) {
      faults.append(.init(origin: "--set \(key)", value: nil, reason: SettingsFile.unknown(key)))
    }
    let named = file ?? environment[Setting.fileVariable].flatMap { $0.isEmpty ? nil : $0 }
    do throws(SettingsError) {
      self.file = try SettingsFile(path: named ?? Setting.standardFile)
    } catch {
      guard named == nil, access(Setting.standardFile, F_OK) != 0 else { throw error }
      self.file = nil
    }
  }

  /// Throws if anything was wrong.
  func finish() throws(SettingsError) {
    if !faults.isEmpty { throw SettingsError(faults) }
  }

  /// The text of a setting and where it stands.
  private func find(_ setting: Setting) -> (text: String, origin: String) {
    if let text = flags[setting.key] { return (text, "--set \(setting.key)") }
    // An empty variable is one that somebody meant to unset.
    if let text = environment[setting.variable], !text.isEmpty { return (text, setting.variable) }
    if let file, let text = file.values[setting.key] { return (text, "\(file.path): \(setting.key)") }
    return (setting.standard, "default of \(setting.key)")
  }

  /// The value that `parse` makes of a setting's text. On a fault it is the default's, and ``finish()`` throws.
  private mutating func value<Value>(_ setting: Setting, _ expected: String, _ parse: (String) -> Value?) -> Value {
    let (text, origin) = find(setting)
    if let value = parse(text) { return value }
    let shown = String(text.unicodeScalars.prefix(128).map { $0.value < 0x20 ? "?" : Character($0) })
    faults.append(.init(origin: origin, value: setting.isSecret ? nil : shown, reason: expected))
    guard let standard = parse(setting.standard) else {
      preconditionFailure("the default of \(setting.key) is valid")
    }
    return standard
  }

  /// A setting that doesn't fit to the others.
  mutating func refuse(_ setting: Setting, _ reason: String) {
    let (text, origin) = find(setting)
    faults.append(.init(origin: origin, value: setting.isSecret ? nil : String(text.prefix(128)), reason: reason))
  }

  mutating func bool(_ setting: Setting) -> Bool {
    value(setting, "is neither true nor false") { text in
      switch text.lowercased() {
      case "true", "yes", "on", "1": true
      case "false", "no", "off", "0": false
      default: nil
      }
    }
  }

  mutating func integer(_ setting: Setting, _ range: ClosedRange<Int>) -> Int {
    value(setting, "is not a number from \(range.lowerBound) to \(range.upperBound)") { text in
      Int(text).flatMap { range.contains($0) ? $0 : nil }
    }
  }

  /// Or 0, for none of its own.
  mutating func powerOfTwo(_ setting: Setting, _ range: ClosedRange<Int>) -> Int {
    value(setting, "is neither 0 nor a power of two from \(range.lowerBound) to \(range.upperBound)") { text in
      Int(text).flatMap { $0 == 0 || range.contains($0) && $0.nonzeroBitCount == 1 ? $0 : nil }
    }
  }

  mutating func port(_ setting: Setting, from lowest: Int = 0) -> Int { integer(setting, lowest...65_535) }

  /// nil where it is empty.
  mutating func optionalPort(_ setting: Setting) -> Int? {
    let port = value(setting, "is not a number from 1 to 65535") { text in
      text.isEmpty ? 0 : Int(text).flatMap { (1...65_535).contains($0) ? $0 : nil }
    }
    return port == 0 ? nil : port
  }

  /// A setting that this version accepts at its default alone.
  mutating func fixed(_ setting: Setting, _ reason: String) {
    let standard = setting.standard
    _ = value(setting, reason) { text in
      text == standard || (standard == "false" && ["no", "off", "0"].contains(text.lowercased())) ? true : nil
    }
  }

  mutating func choice<Value: RawRepresentable & CaseIterable>(
    _ setting: Setting, _ type: Value.Type = Value.self
  ) -> Value where Value.RawValue == String {
    let names = Value.allCases.map(\.rawValue)
    return value(setting, "is none of \(names.joined(separator: ", "))") { text in
      Value.allCases.first { $0.rawValue.lowercased() == text.lowercased() }
    }
  }

  /// An absolute path without `..`, at most `limit` bytes.
  mutating func path(_ setting: Setting, limit: Int = 4095) -> String {
    value(setting, Self.pathRule(limit)) { Self.clean(path: $0, limit) }
  }

  private static func pathRule(_ limit: Int) -> String {
    "is not an absolute path of at most \(limit) bytes without \"..\""
  }

  private static func clean(path text: String, _ limit: Int) -> String? {
    let isClean = text.hasPrefix("/") && text.utf8.count <= limit && !text.utf8.contains(0)
      && !text.split(separator: "/").contains("..")
    guard isClean else { return nil }
    return text.count > 1 && text.hasSuffix("/") ? String(text.dropLast()) : text
  }

  /// nil where it is empty.
  mutating func optionalPath(_ setting: Setting) -> String? {
    let limit = 4095
    let text = value(setting, Self.pathRule(limit)) { $0.isEmpty ? "" : Self.clean(path: $0, limit) }
    return text.isEmpty ? nil : text
  }

  /// Values with commas between them, at most 64; empty where nothing is set.
  mutating func list(_ setting: Setting, _ expected: String, _ parse: (String) -> String?) -> [String] {
    value(setting, expected) { text in
      if text.isEmpty { return [] }
      let parts = text.split(separator: ",", omittingEmptySubsequences: false).map { part in
        String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
      }
      let parsed = parts.compactMap(parse)
      return parsed.count == parts.count && parts.count <= 64 ? parsed : nil
    }
  }

  /// A host name or an address: printable, without spaces.
  mutating func host(_ setting: Setting) -> String {
    value(setting, "is not a host name or an address") { text in
      let isHost = !text.isEmpty && text.utf8.count <= 255 && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f }
      return isHost ? text : nil
    }
  }

  /// A text on one line; nil where it is empty.
  mutating func optionalText(_ setting: Setting, limit: Int = 1024) -> String? {
    let text = value(setting, "is longer than \(limit) bytes or contains control characters") { text in
      text.utf8.count <= limit && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f } ? text : nil
    }
    return text.isEmpty ? nil : text
  }

  mutating func text(_ setting: Setting) -> String {
    value(setting, "must not be empty and takes at most 63 printable characters") { text in
      let isName = !text.isEmpty && text.utf8.count <= 63 && text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f }
      return isName ? text : nil
    }
  }

  /// `500ms`, `2s`, `1.5s`, `1m`, or seconds without a unit; from 10 ms to an hour.
  mutating func duration(_ setting: Setting) -> Duration {
    value(setting, "is not a time from 10ms to 60m, such as 500ms, 2s or 1m") { text in
      let units: [(String, Double)] = [("ms", 1), ("s", 1000), ("m", 60_000), ("", 1000)]
      guard let (unit, factor) = units.first(where: { text.hasSuffix($0.0) }),
        let number = Double(text.dropLast(unit.count)), number.isFinite
      else { return nil }
      let milliseconds = number * factor
      return (10...3_600_000).contains(milliseconds) ? .milliseconds(Int64(milliseconds)) : nil
    }
  }
}
