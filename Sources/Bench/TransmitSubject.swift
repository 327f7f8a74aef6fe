import LinuxSystem
import XDPPrograms
import XSK

extension Subject {
  /// Transmits one frame over and over by AF_XDP out of queue 0, as fast as the kernel takes it.
  ///
  /// - Parameter batch: Frames submitted at a time, and sent by one call: 32 ... 2048.
  public static func transmitByAFXDP(_ name: String, frameByteCount: Int, batch: UInt32) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(name)
    let memory = try UMEM(
      geometry: UMEM.Geometry(frameCount: 4096), numaNode: interface.numaNode(), subject: "UMEM of \(name)")
    var pool = memory.makePool()
    var socket = try XDPSocket(
      memory: memory, pool: &pool, interface: interface, queue: 0,
      options: XDPSocket.Options(receiveEntryCount: 0, transmitEntryCount: 2048, transmitBudget: batch))
    try fill(&socket, &pool, with: try frames(byteCount: frameByteCount))
    tell(readyText)
    let byteCount = UInt32(frameByteCount)
    var sent: UInt64 = 0
    while !StopFlag.isSet {
      socket.reclaim(into: &pool)
      let count = min(socket.transmitRoom(limit: batch), pool.count)
      var index: UInt32 = 0
      while index < count {
        socket.setTransmit(index, PacketDescriptor(address: pool.take(), byteCount: byteCount, options: 0))
        index &+= 1
      }
      socket.submitTransmit(count)
      sent &+= UInt64(count)
      try socket.kick()
    }
    tell(Account(packets: sent - UInt64(socket.transmitPending)).line)
  }

  /// Writes the frames into all the pool's places in turn.
  private static func fill(_ socket: inout XDPSocket, _ pool: inout FramePool, with frames: [[UInt8]]) throws {
    var addresses: [UInt64] = []
    while pool.count > 0 { addresses.append(pool.take()) }
    for (number, address) in addresses.enumerated() {
      let frame = frames[number % frames.count]
      let packet = PacketDescriptor(address: address, byteCount: UInt32(frame.count), options: 0)
      let bytes = socket.bytes(of: packet)
      for (offset, byte) in frame.enumerated() { bytes.storeBytes(of: byte, toByteOffset: offset, as: UInt8.self) }
    }
    for address in addresses.reversed() { pool.put(address) }
  }
}

extension Subject {
  /// Transmits frames over and over by live frames, one thread on each of `cpus`, in batches.
  public static func transmit(_ name: String, frameByteCount: Int, batch: UInt32, cpus: [Int]) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(name)
    let frames = try frames(byteCount: frameByteCount)
    let results = try cpus.map { cpu in
      let result = Handoff<Result<UInt64, ProgramError>>()
      let thread = try PinnedThread.spawn(name: "transmit-\(cpu)", cpu: cpu) {
        do throws(ProgramError) {
          result.put(.success(try transmit(interface, frames, batch: batch)))
        } catch { result.put(.failure(error)) }
      }
      return (result, TransmitThread(thread: thread))
    }
    tell(readyText)
    let sent = try results.map { try $0.0.take().get() }
    tell(Account(packets: sent.reduce(0, +)).line)
  }

  private static func transmit(
    _ interface: NetworkInterface, _ frames: [[UInt8]], batch: UInt32
  ) throws(ProgramError) -> UInt64 {
    let places = 1024
    var transmitter = try LiveTransmitter(frameCount: places, frameByteCount: 2048, ports: [interface.index])
    let region = try transmitter.mapFrames()
    for place in 0..<places {
      for (offset, byte) in frames[place % frames.count].enumerated() {
        region.base.storeBytes(of: byte, toByteOffset: place * 2048 + offset, as: UInt8.self)  // in bounds: < 2048
      }
    }
    let byteCount = UInt32(frames[0].count)
    var place: UInt32 = 0
    while !StopFlag.isSet {
      var index: UInt32 = 0
      while index < batch {
        transmitter.enqueue(address: UInt64(place) * 2048, byteCount: byteCount, port: 0)
        place = (place &+ 1) & UInt32(places - 1)
        index &+= 1
      }
      try transmitter.flush()
    }
    return transmitter.counters.redirected
  }
}

/// Keeps a thread until the work is over.
private final class TransmitThread {
  private let thread: PinnedThread

  init(thread: consuming PinnedThread) { self.thread = thread }
}
