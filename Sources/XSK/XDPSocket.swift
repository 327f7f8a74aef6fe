import Glibc
import LinuxSystem

/// An AF_XDP socket that receives and transmits the packets of one queue of one interface.
///
/// One thread owns all sockets of a ``UMEM`` and its ``FramePool`` and makes every call on them; ``descriptor`` may be
/// put into an XSKMAP by anyone while the value lives. Packets arrive once an XDP program redirects them through that
/// map, or an XDP program copies them into the frames itself (``ProgramRings``). Closing is the deinit's; the kernel frees the queue some 20 ms later, which is why binding retries on EBUSY.
public struct XDPSocket: ~Copyable {
  @usableFromInline var receiveRing: ConsumerRing<PacketDescriptor>
  @usableFromInline var fillRing: ProducerRing<UInt64>
  @usableFromInline var transmitRing: ProducerRing<PacketDescriptor>
  @usableFromInline var completionRing: ConsumerRing<UInt64>
  /// Frames handed to the kernel for packets to come, and not received back.
  @usableFromInline var outstanding: UInt32
  @usableFromInline var submitted: UInt32
  @usableFromInline let frameBase: UnsafeMutableRawPointer
  @usableFromInline let byteCount: Int
  @usableFromInline let usesNeedWakeup: Bool
  /// Packets may come and go in several buffers (XDP_USE_SG).
  public let usesFragments: Bool
  let mappings: RingMappings  // before the descriptor: unmapped before it closes
  public let descriptor: OwnedDescriptor
  public let memory: UMEM
  /// Where an XDP program receives in the kernel's place; nil: the kernel receives.
  public let programRings: ProgramRings?
  /// Packets are written into the frames, and read from them, by the device itself.
  public let isZeroCopy: Bool
  /// Why packets are copied; nil with zero-copy.
  public let copyReason: String?
  /// How long the queue stayed busy with a socket that was closed before, or another bind.
  public let bindRetries: Int

  /// Opens, fills the fill ring from `pool`, then binds: from the first packet on there are frames.
  ///
  /// When it throws, frames that `pool` lent are back. Typical errors, each with its remedy: EPERM (CAP_NET_RAW), EBUSY
  /// (the queue has another socket), EINVAL (no such queue), EOPNOTSUPP (zero-copy required of a driver that has none),
  /// ENETDOWN, ENOBUFS (memory lock limit).
  ///
  /// - Parameters:
  ///   - pool: Of the memory's frames. Unless `options` limit the fill ring, it takes all of them.
  ///   - sharing: The first socket on this memory, already bound: this one, of another queue or interface, shares the
  ///     memory with it (XDP_SHARED_UMEM). It copies or not as the
  ///     first one does; `options` must say the same of fragments and wake-ups.
  ///   - rings: Fresh ones: the kernel gets no frame to receive into, and what still goes to the socket is dropped and
  ///     counted. `options` must turn zero-copy off.
  public init(
    memory: UMEM, pool: inout FramePool, interface: NetworkInterface, queue: UInt32, options: Options = Options(),
    sharing first: CInt? = nil, receivingBy rings: ProgramRings? = nil
  ) throws(SystemError) {
    precondition(rings == nil || options.zeroCopy == .off && !memory.geometry.isUnaligned, "a program copies into aligned frames")
    let subject = "\(interface.name) queue \(queue)"
    let sizes = RingSizes(options, frameCount: memory.geometry.frameCount, receivesByProgram: rings != nil)
    if let defect = sizes.defect {
      throw SystemError(operation: "make ring", code: EINVAL, subject: subject, remedy: defect)
    }
    let descriptor = try OwnedDescriptor.socket(family: AF_XDP, type: CInt(SOCK_RAW.rawValue), needs: .netRaw)
    if first == nil { try SocketSetup.register(memory, on: descriptor, subject: subject) }
    let mappings = try RingMappings(descriptor, sizes: sizes, subject: subject)
    try SocketSetup.tune(descriptor, options, subject: subject)
    var fillRing = rings?.fillRing() ?? mappings.fillRing()
    let filled = fillRing.fill(from: &pool)
    let mode: SocketSetup.Mode
    do throws(SystemError) {
      mode = try SocketSetup.bind(
        descriptor, interface: interface, queue: queue, options: options, sharing: first, subject: subject)
    } catch {
      // Not bound: the kernel took none of them.
      for index in 0..<filled { pool.put(fillRing[index &- filled]) }
      throw error
    }
    self.init(
      memory: memory, descriptor: descriptor, mappings: mappings, fillRing: fillRing, filled: filled, options: options,
      mode: mode, programRings: rings)
  }

  init(
    memory: UMEM, descriptor: consuming OwnedDescriptor, mappings: consuming RingMappings,
    fillRing: consuming ProducerRing<UInt64>, filled: UInt32, options: Options, mode: SocketSetup.Mode,
    programRings: ProgramRings? = nil
  ) {
    receiveRing = programRings?.receiveRing() ?? mappings.receiveRing()
    transmitRing = mappings.transmitRing()
    completionRing = mappings.completionRing()
    self.fillRing = fillRing
    outstanding = filled
    submitted = 0
    frameBase = memory.base
    byteCount = memory.byteCount
    usesNeedWakeup = options.usesNeedWakeup
    usesFragments = options.usesFragments
    self.mappings = mappings
    self.descriptor = descriptor
    self.memory = memory
    self.programRings = programRings
    isZeroCopy = mode.isZeroCopy
    copyReason = mode.copyReason
    bindRetries = mode.bindRetries
  }

  /// Where the bytes at an address lie.
  @inlinable func start(of address: UInt64) -> UnsafeMutableRawPointer {
    frameBase + PacketDescriptor.offset(of: address)
  }

  /// Debug builds: what a descriptor names, and so many bytes in front of it, lies in the UMEM.
  @inlinable func checkBounds(_ packet: PacketDescriptor, headroom: Int = 0) {
    #if DEBUG
      let offset = PacketDescriptor.offset(of: packet.address)
      precondition(offset >= headroom && offset + Int(packet.byteCount) <= byteCount, "a descriptor outside the UMEM")
    #endif
  }
}

extension XDPSocket {
  /// Gives free frames to the kernel, as many as the fill ring has room for. No system call. Returns how many.
  @inlinable
  @discardableResult
  public mutating func refill(from pool: inout FramePool) -> UInt32 {
    let count = fillRing.fill(from: &pool)
    outstanding &+= count
    return count
  }

  /// The driver waits for a call before it looks at the fill ring; ``wake()`` or poll(2) is one.
  @inlinable public var needsWakeup: Bool { fillRing.needsWakeup }

  /// Makes the driver look at the fill ring; with busy polling, polls the device. Mutating, because a borrowing call
  /// copies the whole value first.
  public mutating func wake() { _ = recv(descriptor.rawValue, nil, 0, CInt(MSG_DONTWAIT)) }
}
