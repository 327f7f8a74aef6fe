import LinuxSystem
import Rules
import XDPPrograms

/// One wire: what was asked for, and what carries its packets now. The control actor owns it.
final class Wire {
  let options: WireOptions
  let createdAtNanoseconds: UInt64
  /// Nil: a side is missing; see ``waitsFor``.
  var run: WireRun?
  /// Why nothing carries packets now.
  var waitsFor = "not started yet"
  /// Of the user path; what was told already.
  var lastFallbackReason: String?

  init(options: WireOptions, createdAtNanoseconds: UInt64) {
    self.options = options
    self.createdAtNanoseconds = createdAtNanoseconds
  }

  var state: DaemonState.Wire { DaemonState.Wire(options: options, createdAtNanoseconds: createdAtNanoseconds) }
}

/// A wire between two attachments that are there.
final class WireRun {
  let choice: WireChoice
  /// By side.
  let attachments: [Attachment]
  /// The user path's; nil on the kernel path.
  var threads: WireThreads?
  /// The user path was chosen and could not be kept: why.
  var fallbackReason: String?
  /// When that happened; CLOCK_MONOTONIC.
  var fellBackAtNanoseconds: UInt64 = 0
  /// By side.
  private var kernelShares: [KernelShare]
  /// Packets are led to the threads' sockets, and the kernel carries what finds none.
  private var isLedToUser = false

  /// - Parameter before: What carried packets until now; where it did between the same attachments, its counters go on.
  init(_ choice: WireChoice, _ attachments: [Attachment], continuing before: WireRun?) {
    self.choice = choice
    self.attachments = attachments
    if let before, before.attachments.elementsEqual(attachments, by: ===) {
      kernelShares = before.kernelShares
      isLedToUser = before.isLedToUser
    } else {
      kernelShares = attachments.map { KernelShare($0.forwardedCounters) }
    }
  }

  /// What carries packets now.
  var path: WireChoice.Path { threads == nil ? .kernel : .user }

  /// The side that packets of `side` leave by.
  private func output(of side: Int) -> Attachment { attachments[attachments.count - 1 - side] }

  /// Leads the packets of every side along the path that is there. A reflector without its threads has none: they go to
  /// the stack.
  func lead() throws(ControlError) {
    settleKernelShares()
    isLedToUser = threads != nil
    for (side, attachment) in attachments.enumerated() {
      let peer = attachments.count == 1 ? 0 : output(of: side).program.interfaceIndex
      let path: PacketPath =
        threads != nil ? .user(peer: peer) : attachments.count == 1 ? .stack : .forward(peer: peer)
      try translating { () throws(ProgramError) in try attachment.program.setPath(path) }
    }
  }

  /// Back to the stack. An interface that is gone needs no leading.
  func leadToStack() {
    for attachment in attachments { try? attachment.leadToStack() }
  }

  /// Before the path changes: from then on other counters tell what the kernel carried.
  private func settleKernelShares() {
    for (side, attachment) in attachments.enumerated() {
      kernelShares[side].settle(attachment.forwardedCounters, isUserPath: isLedToUser)
    }
  }

  /// What the kernel carried of the packets that came in by `side`.
  func kernelShare(of side: Int) -> PacketCount {
    kernelShares[side].count(attachments[side].forwardedCounters, isUserPath: isLedToUser)
  }
}

/// The XDP program's counters of packets that followed a path.
struct ForwardedCounters: Hashable, Sendable {
  /// Along any path, to a socket too.
  var forwarded = PacketCount(packets: 0, bytes: 0)
  /// Of these, by the kernel because a queue had no socket.
  var fallback = PacketCount(packets: 0, bytes: 0)
  var failed = PacketCount(packets: 0, bytes: 0)
}

/// Tells the packets that the kernel carried from those that went to a socket: both count as forwarded. On the kernel path
/// it is all of them, on the user path the fallbacks.
struct KernelShare: Hashable, Sendable {
  private var total = PacketCount(packets: 0, bytes: 0)
  private var since: ForwardedCounters

  init(_ now: ForwardedCounters) { since = now }

  func count(_ now: ForwardedCounters, isUserPath: Bool) -> PacketCount {
    let (old, new) = isUserPath ? (since.fallback, now.fallback) : (since.forwarded, now.forwarded)
    return PacketCount(
      packets: total.packets &+ (new.packets &- old.packets), bytes: total.bytes &+ (new.bytes &- old.bytes))
  }

  /// The path changes now.
  mutating func settle(_ now: ForwardedCounters, isUserPath: Bool) {
    total = count(now, isUserPath: isUserPath)
    since = now
  }
}
