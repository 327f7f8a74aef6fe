import DataPlane
import Flows
import LinuxSystem
import Testing

@testable import Control

@Suite("The memory of wires")
struct WireMemoryTests {
  /// Each thread: 2·(2·1024 + 2048) + 64 frames of 2048 bytes, and 2²⁰ slots of 64 bytes: 16 MiB and 128 KiB, and 64 MiB.
  private func threads(_ count: UInt32) throws -> [WireConfiguration] {
    let sides = [try NetworkInterface.named("lo"), try NetworkInterface.named("lo")]
    return (0..<count).map { queue in
      var thread = WireConfiguration(sides: sides, queue: queue, cpu: nil)
      (thread.ringEntryCount, thread.batchLimit, thread.frameByteCount) = (1024, 64, 2048)
      thread.flows = FlowAccountingConfiguration(flowCount: 600_000, interfaces: [])
      return thread
    }
  }

  @Test("A thread's frames and flows are counted, and more than is left is refused before anything is taken")
  func budget() throws {
    let each = 80 << 20 | 128 << 10
    #expect(try threads(1)[0].memoryByteCount == each)
    #expect(try WireMemory.byteCount(of: threads(4), used: 0, limit: 4 * each) == 4 * each)
    #expect(try WireMemory.byteCount(of: [], used: 7, limit: 7) == 0)
    for (used, limit) in [(1, 4 * each), (0, 4 * each - 1), (.max / 2, 4 * each)] {
      let error = try #require(throws: ControlError.self) {
        try WireMemory.byteCount(of: threads(4), used: used, limit: limit)
      }
      #expect(error.kind == .resourceExhausted && error.message.contains("4 queues"), "\(error)")
    }
  }

  @Test("Slots are the next power of two above 4/3 of the flows", arguments: [(1024, 2048), (768, 1024), (769, 2048), (0, 64)])
  func slots(_ flowCount: Int, _ slotCount: Int) {
    #expect(FlowTable.byteCount(flowCount: flowCount) == slotCount * 64)
    #expect(FlowTable(flowCount: flowCount).slotCount == slotCount)
  }
}
