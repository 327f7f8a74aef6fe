import LinuxSystem
import Synchronization
import XSK

/// Which rule a slot belongs to, for the comments of captured packets. Any thread.
///
/// A change is in the running captures when the call returns: the first packet of a rule has its name, if that is set before the
/// rule is live.
public final class SlotNames: Sendable {
  private struct State {
    var names: [UInt32: String] = [:]
    var captures: [Capture] = []
  }

  /// One that runs, or ran.
  private struct Capture {
    weak var options: PacketOptions?
  }

  private let state = Mutex(State())

  public init() {}

  /// Names of rules that are gone stay until their slot has another: packets of theirs may still be on the way.
  public func set(_ slots: [String: UInt32]) {
    state.withLock { state in
      for (name, slot) in slots where state.names[slot] != name {
        state.names[slot] = name
        for capture in state.captures { capture.options?.set(Pcapng.packetOptions(rule: name), of: slot) }
      }
    }
  }

  /// What the rings of a new capture put behind their packets, kept up to date while somebody holds it.
  ///
  /// - Parameter hasQueues: Packets have another option, which needs an end of options.
  func makeOptions(hasQueues: Bool) throws(SystemError) -> PacketOptions {
    let options = try PacketOptions(standard: hasQueues ? Pcapng.endOfOptions : [])
    state.withLock { state in
      for (slot, name) in state.names { options.set(Pcapng.packetOptions(rule: name), of: slot) }
      state.captures.removeAll { $0.options == nil }
      state.captures.append(Capture(options: options))
    }
    return options
  }
}
