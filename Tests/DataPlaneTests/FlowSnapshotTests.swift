import Flows
import LinuxSystem
import NetworkSupport
import Packets
import Synchronization
import Testing

@testable import DataPlane

private final class Count: Sendable {
  private let cell = Atomic<Int>(0)

  var value: Int { cell.load(ordering: .acquiring) }
  func add() { cell.wrappingAdd(1, ordering: .releasing) }
}

/// Of more flows than the ring to a snapshot's reader holds.
@Suite("Snapshots and the sleep of a packet thread", .serialized)
struct FlowSnapshotTests {
  private static let flowCount = 5000

  private func fill(_ stage: inout FlowStage) throws {
    let source = try IPAddress(parsing: "192.0.2.1")
    let destination = try IPAddress(parsing: "198.51.100.7")
    for number in 0..<FlowSnapshotTests.flowCount {
      let transport = PacketBuilder.Transport.udp(source: UInt16(1024 + number), destination: 53)
      var bytes = PacketBuilder(from: source, to: destination, transport).build()
      var context = PacketContext(
        slot: 1, byteCount: UInt32(bytes.count), timestampNanoseconds: SystemClock.monotonicNanoseconds())
      var span = bytes.mutableSpan
      var raw = span.mutableBytes
      let verdict = stage.process(&raw, &context)
      #expect(verdict == .proceed)
    }
  }

  @Test("After a snapshot that was given up the thread may sleep, and the next snapshot is whole")
  func givenUp() throws {
    let account = try FlowAccount(.init(flowCount: 10_000), exporter: nil)
    var stage = FlowStage(account)
    try fill(&stage)
    for _ in 0..<2 {
      let isComplete = try account.visit(timeoutNanoseconds: 0) { _ in }
      let hasMore = stage.advance(now: SystemClock.monotonicNanoseconds(), isIdle: true)
      #expect(!isComplete && !hasMore)
    }
    let isOver = Gate()
    let visited = Handoff<Int>()
    let reader = try PinnedThread.spawn(name: "reader") {
      var count = 0
      let isComplete = try? account.visit(timeoutNanoseconds: 20_000_000_000) { _ in count += 1 }
      visited.put(isComplete == true ? count : -1)
      isOver.open()
    }
    while !isOver.isOpened { _ = stage.advance(now: SystemClock.monotonicNanoseconds(), isIdle: true) }
    reader.join()
    #expect(visited.take() == FlowSnapshotTests.flowCount)
    stage.finish()
  }

  @Test("While a snapshot waits for room the thread may sleep; the reader wakes it, and gets every flow")
  func waitsForRoom() throws {
    let wakes = Count()
    let account = try FlowAccount(.init(flowCount: 10_000), exporter: nil) { wakes.add() }
    var stage = FlowStage(account)
    try fill(&stage)
    let (isReading, mayRead, isOver) = (Gate(), Gate(), Gate())
    let visited = Handoff<Int>()
    let reader = try PinnedThread.spawn(name: "reader") {
      var count = 0
      let isComplete = try? account.visit(timeoutNanoseconds: 30_000_000_000) { _ in
        if count == 0 {
          isReading.open()
          mayRead.wait()
        }
        count += 1
      }
      visited.put(isComplete == true ? count : -1)
      isOver.open()
    }
    let mayHaveSlept = eventually {
      let hasMore = stage.advance(now: SystemClock.monotonicNanoseconds(), isIdle: true)
      return isReading.isOpened && !hasMore
    }
    #expect(mayHaveSlept && !isOver.isOpened)
    let before = wakes.value
    mayRead.open()
    #expect(eventually { wakes.value > before })
    while !isOver.isOpened { _ = stage.advance(now: SystemClock.monotonicNanoseconds(), isIdle: true) }
    reader.join()
    #expect(visited.take() == FlowSnapshotTests.flowCount)
    stage.finish()
  }
}
