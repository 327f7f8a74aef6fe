import DataPlane
import LinuxSystem
import XDPPrograms
import XSK

/// What a socket says of its mode and its memory.
enum Modes {
  /// A driver may accept a zero-copy bind under a generic program, and then nothing arrives that way.
  static func generic(_ name: String) throws {
    let port = try Port(name, mode: .generic)
    let memory = try UMEM(geometry: UMEM.Geometry(frameCount: 1024), wantsHugePages: false)
    var pool = memory.makePool()
    let socket = try XDPSocket(
      memory: memory, pool: &pool, interface: port.interface, queue: 0,
      options: XDPSocket.Options(isProgramNative: port.program.isNative))
    claim("\(name): not zero-copy under a generic program (\(socket.copyReason ?? "no reason"))",
      !socket.isZeroCopy && socket.copyReason != nil)
  }

  /// A driver without zero-copy: asked for it, the socket fails in words; left to choose, it copies and says why.
  static func refuses(_ name: String) throws {
    let port = try Port(name, mode: .auto)
    func open(_ mode: XDPSocket.ZeroCopyMode) throws -> (isZeroCopy: Bool, reason: String?) {
      let memory = try UMEM(geometry: UMEM.Geometry(frameCount: 1024), wantsHugePages: false)
      var pool = memory.makePool()
      let socket = try XDPSocket(
        memory: memory, pool: &pool, interface: port.interface, queue: 0,
        options: XDPSocket.Options(zeroCopy: mode, isProgramNative: port.program.isNative))
      return (socket.isZeroCopy, socket.copyReason)
    }
    do {
      _ = try open(.required)
      claim("\(name): zero-copy is refused", false)
    } catch let error as SystemError {
      claim("\(name): zero-copy is refused: \(error)", error.description.contains("zero"))
    }
    let chosen = try open(.auto)
    claim("\(name): copies, because \(chosen.reason ?? "of nothing")", !chosen.isZeroCopy && chosen.reason != nil)
  }

  /// What captures receive a queue with: zero-copy also where the driver has none of packets in several buffers.
  static func worker(_ name: String) throws {
    let port = try Port(name)
    let worker = try QueueWorker.start(QueueConfiguration(interface: port.interface, queue: 0, frameCount: 4096))
    let report = worker.report
    worker.stop()
    claim(
      "\(name): a capture's queue is zero-copy (\(report.copyReason ?? "yes")), and loses no packet of the MTU",
      report.isZeroCopy && report.fragmentReason == nil)
  }

  /// A node without enough free huge pages, although the machine has them: ordinary pages of that node, and the reason.
  static func crowded(_ name: String, node: Int) throws {
    let interface = try NetworkInterface.named(name)
    let first = try UMEM(geometry: UMEM.Geometry(frameCount: 61_440), numaNode: interface.numaNode())  // 60 of 64 pages
    let second = try UMEM(geometry: UMEM.Geometry(frameCount: 8192), numaNode: interface.numaNode())  // 8
    claim(
      "\(name): without huge pages on node \(node), memory is \(second.placement): \(second.hugePageRefusal?.description ?? "")",
      first.hasHugePages && !second.hasHugePages && second.placement == .verified(node: node)
        && second.hugePageRefusal?.remedy?.contains("node\(node)/hugepages") == true)
  }

  /// The memory of a NIC's socket lies on the NIC's node, in huge pages.
  static func placement(_ name: String, node: Int) throws {
    let interface = try NetworkInterface.named(name)
    claim("\(name) is on node \(node)", interface.numaNode() == node)
    for wantsHugePages in [true, false] {
      let memory = try UMEM(
        geometry: UMEM.Geometry(frameCount: 2048), numaNode: interface.numaNode(), wantsHugePages: wantsHugePages)
      claim(
        "\(name): memory \(wantsHugePages ? "in huge pages" : "in ordinary pages") is on node \(node): \(memory.placement)",
        memory.placement == .verified(node: node) && memory.hasHugePages == wantsHugePages)
    }
  }
}
