extension XDPSocket {
  public enum ZeroCopyMode: Hashable, Sendable {
    /// Zero-copy where the driver can, else copies.
    case auto
    /// Fails where the driver can't.
    case required
    case off
  }

  /// The kernel polls the device's queue in the socket's system calls, not in interrupts (SO_PREFER_BUSY_POLL).
  ///
  /// It does so in every `wake()` and `kick()`, which the owner must call at least once per `gro_flush_timeout`:
  /// ``NAPITuning`` sets that. Needs CAP_NET_ADMIN.
  public struct BusyPoll: Hashable, Sendable {
    /// Packets per call (SO_BUSY_POLL_BUDGET), at most 65,535.
    public var budget: UInt32
    /// How long a call polls an empty queue (SO_BUSY_POLL).
    public var microseconds: UInt32

    public init(budget: UInt32 = 64, microseconds: UInt32 = 20) {
      self.budget = budget
      self.microseconds = microseconds
    }
  }

  public struct Options: Hashable, Sendable {
    public var zeroCopy: ZeroCopyMode
    /// Entries of the fill ring: a power of two. Nil: room for all frames.
    public var fillEntryCount: UInt32?
    /// Entries of the receive ring: a power of two. Nil: as the fill ring, so that it never overflows first. 0:
    /// receives nothing, and no frame goes into the fill ring.
    public var receiveEntryCount: UInt32?
    /// Entries of the transmit ring: a power of two. 0: transmits nothing.
    public var transmitEntryCount: UInt32
    /// Entries of the completion ring: a power of two. Nil: as the transmit ring.
    public var completionEntryCount: UInt32?
    /// Packets longer than a frame come and go in several buffers (XDP_USE_SG, Linux 6.6); else the kernel drops them.
    /// The XDP program must be one for fragments (`xdp.frags`). The same for all sockets of a memory.
    public var usesFragments: Bool
    /// The kernel says when it wants to be woken (XDP_USE_NEED_WAKEUP); without, a driver spins on the rings. The same for
    /// all sockets of a memory.
    public var usesNeedWakeup: Bool
    public var busyPoll: BusyPoll?
    /// Packets that one ``XDPSocket/kick()`` sends in copy mode, 32 to ``transmitEntryCount``
    /// (XDP_MAX_TX_SKB_BUDGET; a kernel that has it not sends its 32). Nil: the kernel's 32.
    public var transmitBudget: UInt32?
    /// How long a busy queue is tried again.
    public var bindTimeoutMilliseconds: UInt32
    /// The XDP program of the interface is attached in native mode. Under a generic one packets are copied, whatever
    /// the driver says to the bind.
    public var isProgramNative: Bool

    public init(
      zeroCopy: ZeroCopyMode = .auto, fillEntryCount: UInt32? = nil, receiveEntryCount: UInt32? = nil,
      transmitEntryCount: UInt32 = 0, completionEntryCount: UInt32? = nil, usesFragments: Bool = false,
      usesNeedWakeup: Bool = true, busyPoll: BusyPoll? = nil, transmitBudget: UInt32? = nil,
      bindTimeoutMilliseconds: UInt32 = 3000, isProgramNative: Bool = true
    ) {
      self.zeroCopy = zeroCopy
      self.fillEntryCount = fillEntryCount
      self.receiveEntryCount = receiveEntryCount
      self.transmitEntryCount = transmitEntryCount
      self.completionEntryCount = completionEntryCount
      self.usesFragments = usesFragments
      self.usesNeedWakeup = usesNeedWakeup
      self.busyPoll = busyPoll
      self.transmitBudget = transmitBudget
      self.bindTimeoutMilliseconds = bindTimeoutMilliseconds
      self.isProgramNative = isProgramNative
    }
  }
}

/// Entries of the four rings of a socket; receive or transmit may be 0.
struct RingSizes {
  let fill: UInt32
  let receive: UInt32
  let transmit: UInt32
  let completion: UInt32

  /// What the options mean for a UMEM of so many frames.
  ///
  /// - Parameter receivesByProgram: The kernel's rings for that are as small as they can be.
  init(_ options: XDPSocket.Options, frameCount: UInt32, receivesByProgram: Bool = false) {
    var options = options
    if receivesByProgram { (options.fillEntryCount, options.receiveEntryCount) = (RingSizes.unused, RingSizes.unused) }
    let all = PowerOfTwo.atLeast(frameCount)
    let receives = options.receiveEntryCount != 0
    // The kernel binds no UMEM without fill and completion rings: unused ones are as small as they can be.
    fill = receives ? options.fillEntryCount ?? all : RingSizes.unused
    receive = options.receiveEntryCount ?? fill
    transmit = options.transmitEntryCount
    completion = transmit == 0 ? RingSizes.unused : options.completionEntryCount ?? transmit
  }

  private static var unused: UInt32 { 2 }

  /// What is wrong with them; nil: nothing.
  var defect: String? {
    if receive == 0 && transmit == 0 { return "a socket receives, transmits or both" }
    let counts = [fill, completion] + [receive, transmit].filter { $0 != 0 }
    return counts.first { $0 == 0 || $0 & ($0 - 1) != 0 }.map { "\($0) entries is not a power of two" }
  }
}

/// What sizes of rings are.
package enum PowerOfTwo {
  package static func atLeast(_ count: UInt32) -> UInt32 {
    count <= 1 ? 1 : 1 << UInt32(32 - (count - 1).leadingZeroBitCount)
  }
}
