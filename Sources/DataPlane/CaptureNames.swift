import LinuxSystem
import XSK

/// The comments of a capture's packets: the names of the rules, by slot. One thread at a time.
final class CaptureNames {
  /// What the rings put behind their packets.
  let options: PacketOptions
  private let slotName: @Sendable (UInt32) -> String?
  private var known: [String?]

  /// Prepares every slot.
  ///
  /// - Parameter hasQueues: Packets have another option, which needs an end of options.
  init(_ slotName: @escaping @Sendable (UInt32) -> String?, hasQueues: Bool) throws(SystemError) {
    options = try PacketOptions(standard: hasQueues ? Pcapng.endOfOptions : [])
    self.slotName = slotName
    known = Array(repeating: nil, count: Int(RecordAdmission.slotLimit))
    prepareAll()
  }

  /// A rule's name can change, and its slot become another's, while the capture runs.
  func prepareAll() { for slot in 0..<RecordAdmission.slotLimit { prepare(slot) } }

  /// The rule of which there was a packet before its name was known here.
  func prepareMissed() { if let slot = options.takeUnprepared() { prepare(slot) } }

  private func prepare(_ slot: UInt32) {
    let name = slotName(slot)
    if name == known[Int(slot)] { return }
    known[Int(slot)] = name
    options.set(name.map { Pcapng.packetOptions(rule: $0) }, of: slot)
  }
}
