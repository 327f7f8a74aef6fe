import LinuxSystem
import Synchronization
import XSK

/// What a wire's packet thread and the others share.
final class WireShared: Sendable {
  let control: LoopControl
  /// Of each side.
  let boards: [TapBoard]
  let lanes: [WireLane]
  /// Nil: no flows are accounted.
  let flows: FlowAccount?
  /// Bit i: the interface of port i takes live frames. The mirror's port is the last.
  private let ableBits: Atomic<UInt32>
  /// Bit i: the interface of port i sends nothing now.
  private let downBits = Atomic<UInt32>(0)
  private let mirrorPort: UInt16
  private let frameCount: UInt32
  private let frameCells = CounterBlock(count: 2)
  private let sockets: Mutex<(open: [OpenSocket], last: [XDPStatistics], failure: SystemError?)>

  init(_ configuration: WireConfiguration, exporter: FlowExporter?) throws(SystemError) {
    let count = configuration.sides.count
    let control = try LoopControl()
    self.control = control
    if let wanted = configuration.flows {
      flows = try FlowAccount(wanted, exporter: exporter) { control.wake.signal() }
    } else {
      flows = nil
    }
    boards = configuration.sides.map { _ in TapBoard() }
    let cells = CounterBlock(count: count * WireLane.cellCount)
    lanes = (0..<count).map { WireLane(cells, side: $0) }
    mirrorPort = UInt16(count)
    frameCount = configuration.frameCount
    ableBits = Atomic(0)
    sockets = Mutex(([], Array(repeating: XDPStatistics(), count: count), nil))
  }

  func setLiveAble(_ isAble: Bool, port: Int) { WireShared.set(ableBits, port, to: isAble) }

  func setDown(_ isDown: Bool, port: Int) { WireShared.set(downBits, port, to: isDown) }

  private static func set(_ bits: borrowing Atomic<UInt32>, _ port: Int, to isSet: Bool) {
    if isSet {
      bits.bitwiseOr(1 << UInt32(port), ordering: .relaxed)
    } else {
      bits.bitwiseAnd(~(1 << UInt32(port)), ordering: .relaxed)
    }
  }

  /// The packet thread, once per batch.
  func target(from side: Int, to other: Int) -> Transmitter.Target {
    let bits = ableBits.load(ordering: .relaxed)
    let down = downBits.load(ordering: .relaxed)
    return Transmitter.Target(
      port: UInt16(truncatingIfNeeded: other), mirrorPort: mirrorPort, isDeviceAble: bits & (1 << UInt32(other)) != 0,
      isMirrorAble: bits & (1 << UInt32(mirrorPort)) != 0, isDeviceDown: down & (1 << UInt32(other)) != 0,
      isMirrorDown: down & (1 << UInt32(mirrorPort)) != 0, counters: lanes[side])
  }

  /// The packet thread, when the sockets are open.
  func open(_ open: [OpenSocket]) { sockets.withLock { $0.open = open } }

  /// The packet thread, before the sockets close.
  func close(failure: SystemError?) {
    sockets.withLock {
      WireShared.read(&$0.last, $0.open)
      $0.open = []
      $0.failure = failure
    }
  }

  /// The packet thread, before it sleeps and when it ends.
  func publish(_ frames: FrameCounts) {
    // Numbers of 21 bits side by side, so that a reader never sees half of an update: UMEM.Geometry.frameCountMax fits.
    frameCells.store(
      UInt64(frames.pool) | UInt64(frames.fill) << 21 | UInt64(frames.inFlight &+ frames.receive) << 42, at: 0)
  }

  func counters() -> WireCounters {
    var counters = WireCounters()
    counters.sides = lanes.map { $0.counters() }
    counters.loop = control.meter.histogram()
    let frames = frameCells.load(0)
    counters.framesTotal = frameCount
    counters.framesPool = UInt32(frames & 0x1f_ffff)
    counters.framesFill = UInt32(frames >> 21 & 0x1f_ffff)
    counters.framesInFlight = UInt32(frames >> 42 & 0x1f_ffff)
    counters.framesTransmit = frameCount - counters.framesPool - counters.framesFill - counters.framesInFlight
    sockets.withLock {
      // The lock keeps the descriptors open meanwhile.
      WireShared.read(&$0.last, $0.open)
      for index in counters.sides.indices { counters.sides[index].statistics = $0.last[index] }
      counters.failure = $0.failure
    }
    return counters
  }

  private static func read(_ statistics: inout [XDPStatistics], _ open: [OpenSocket]) {
    for (index, socket) in open.enumerated() { socket.read(into: &statistics[index]) }
  }
}
