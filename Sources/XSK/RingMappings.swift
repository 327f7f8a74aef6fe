import CLinuxShims
import LinuxSystem

/// The memory of a socket's four rings.
///
/// For a ring that the socket doesn't use stands one that is always full for us, or always empty: the code that uses it
/// needs no case of its own.
struct RingMappings: ~Copyable {
  private let fill: RingMemory
  private let receive: RingMemory
  private let transmit: RingMemory
  private let completion: RingMemory

  /// Makes the rings of a socket and maps them.
  init(_ descriptor: borrowing OwnedDescriptor, sizes: RingSizes, subject: String) throws(SystemError) {
    for (option, count) in [
      (XDP_UMEM_FILL_RING, sizes.fill), (XDP_UMEM_COMPLETION_RING, sizes.completion), (XDP_RX_RING, sizes.receive),
      (XDP_TX_RING, sizes.transmit),
    ] where count > 0 {
      try SocketSetup.setOption(option, of: descriptor, to: count, operation: "make ring", subject: subject)
    }
    let offsets: xdp_mmap_offsets = try SocketSetup.option(
      XDP_MMAP_OFFSETS, of: descriptor.rawValue, initial: xdp_mmap_offsets(), operation: "read ring offsets",
      subject: subject)
    let entry = MemoryLayout<UInt64>.stride
    let packet = MemoryLayout<PacketDescriptor>.stride
    // Who receives nothing gives no frame to the kernel either.
    let fill = try RingMemory.map(
      descriptor, at: sluice_xdp_page_offset_fill, offsets.fr, sizes.receive == 0 ? 0 : sizes.fill, entry,
      "fill ring of \(subject)")
    let receive = try RingMemory.map(
      descriptor, at: sluice_xdp_page_offset_rx, offsets.rx, sizes.receive, packet, "receive ring of \(subject)")
    let transmit = try RingMemory.map(
      descriptor, at: sluice_xdp_page_offset_tx, offsets.tx, sizes.transmit, packet,
      "transmit ring of \(subject)")
    let completion = try RingMemory.map(
      descriptor, at: sluice_xdp_page_offset_completion, offsets.cr, sizes.completion, entry,
      "completion ring of \(subject)")
    self.fill = fill
    self.receive = receive
    self.transmit = transmit
    self.completion = completion
  }

  /// Rings in ordinary memory, whose indices all start at `start`.
  init(inMemory sizes: RingSizes, startingAt start: UInt32) throws(SystemError) {
    let entry = MemoryLayout<UInt64>.stride
    let packet = MemoryLayout<PacketDescriptor>.stride
    let fill = try RingMemory(
      entryCount: sizes.receive == 0 ? 0 : sizes.fill, entryByteCount: entry, startingAt: start)
    let receive = try RingMemory(entryCount: sizes.receive, entryByteCount: packet, startingAt: start)
    let transmit = try RingMemory(entryCount: sizes.transmit, entryByteCount: packet, startingAt: start)
    let completion = try RingMemory(entryCount: sizes.completion, entryByteCount: entry, startingAt: start)
    self.fill = fill
    self.receive = receive
    self.transmit = transmit
    self.completion = completion
  }

  // The rings must not outlive this value.
  borrowing func fillRing() -> ProducerRing<UInt64> { fill.producerRing() }
  borrowing func receiveRing() -> ConsumerRing<PacketDescriptor> { receive.consumerRing() }
  borrowing func transmitRing() -> ProducerRing<PacketDescriptor> { transmit.producerRing() }
  borrowing func completionRing() -> ConsumerRing<UInt64> { completion.consumerRing() }

  /// The other side of rings in ordinary memory.
  borrowing func kernelSide(headroom: UInt64) -> KernelSide {
    KernelSide(
      headroom: headroom, fill: fill.consumerRing(), receive: receive.producerRing(),
      transmit: transmit.consumerRing(), completion: completion.producerRing())
  }
}

/// One ring's memory: the kernel's, or ordinary.
private struct RingMemory: ~Copyable {
  private let layout: RingLayout
  private let region: MappedRegion
  private let hasEntries: Bool

  /// The kernel's ring of a socket; ordinary memory if it has none.
  static func map(
    _ descriptor: borrowing OwnedDescriptor, at pageOffset: UInt64, _ offsets: xdp_ring_offset, _ entryCount: UInt32,
    _ entryByteCount: Int, _ subject: String
  ) throws(SystemError) -> RingMemory {
    if entryCount == 0 { return try RingMemory(entryCount: 0, entryByteCount: entryByteCount, startingAt: 0) }
    let region = try MappedRegion(
      sharing: descriptor, offset: Int(pageOffset), byteCount: Int(offsets.desc) + Int(entryCount) * entryByteCount,
      subject: subject)
    // The offsets are the kernel's own, inside the mapping.
    let layout = RingLayout(
      producer: region.base + Int(offsets.producer), consumer: region.base + Int(offsets.consumer),
      flags: region.base + Int(offsets.flags), slots: region.base + Int(offsets.desc), entryCount: entryCount)
    return RingMemory(layout: layout, region: region)
  }

  private init(layout: RingLayout, region: consuming MappedRegion) {
    self.layout = layout
    self.region = region
    hasEntries = true
  }

  /// Ordinary memory. Without entries: a ring of one that looks empty to a consumer and full to a producer.
  init(entryCount: UInt32, entryByteCount: Int, startingAt start: UInt32) throws(SystemError) {
    let slots = 256  // indices and flags each in a cache line of their own, as in the kernel's layout
    let region = try MappedRegion(
      anonymous: slots + max(Int(entryCount), 1) * entryByteCount, subject: "ring of \(entryCount) entries")
    layout = RingLayout(
      producer: region.base, consumer: region.base + 64, flags: region.base + 128, slots: region.base + slots,
      entryCount: max(entryCount, 1))
    self.region = region
    layout.producer.storeBytes(of: start, as: UInt32.self)
    layout.consumer.storeBytes(of: start, as: UInt32.self)
    hasEntries = entryCount > 0
  }

  func consumerRing<Entry: BitwiseCopyable>() -> ConsumerRing<Entry> {
    ConsumerRing(
      producer: layout.producer, consumer: layout.consumer, slots: layout.slots, entryCount: layout.entryCount)
  }

  func producerRing<Entry: BitwiseCopyable>() -> ProducerRing<Entry> {
    if !hasEntries { layout.producer.storeBytes(of: 1, as: UInt32.self) }  // against a consumer's 0: full
    return ProducerRing(
      producer: layout.producer, consumer: layout.consumer, flags: layout.flags, slots: layout.slots,
      entryCount: layout.entryCount)
  }
}

/// Where in memory a ring's parts lie.
private struct RingLayout {
  let producer: UnsafeMutableRawPointer
  let consumer: UnsafeMutableRawPointer
  let flags: UnsafeMutableRawPointer
  let slots: UnsafeMutableRawPointer
  let entryCount: UInt32
}
