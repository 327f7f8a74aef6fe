import Testing

@testable import Control

@Suite("The memory of capture sockets")
struct QueueMemoryTests {
  private func frames(asked: UInt32 = 0, queues: Int, used: Int = 0, limit: Int) throws(ControlError) -> UInt32 {
    try QueueMemory.frameCount(
      asked: asked, standard: 32_768, frameByteCount: 2048, queueCount: queues, used: used, limit: limit)
  }

  @Test("Each queue has the standard frames where they fit, else half as many as often as it takes")
  func shrinks() throws {
    let limit = 256 << 20  // four queues of 64 MiB
    #expect(try frames(queues: 4, limit: limit) == 32_768)
    #expect(try frames(queues: 4, used: 1, limit: limit) == 16_384)
    #expect(try frames(queues: 64, limit: limit) == 2048)
    #expect(try frames(queues: 128, limit: limit) == 1024)
  }

  @Test("What was asked for is given or refused, and fewer than a thousand frames are refused, with words")
  func refuses() throws {
    let limit = 256 << 20
    #expect(try frames(asked: 65_536, queues: 2, limit: limit) == 65_536)
    #expect(try frames(asked: 512, queues: 2, limit: limit) == 512)
    for (asked, queues, used) in [(65_536, 3, 0), (0, 129, 0), (0, 1, .max / 2)] as [(UInt32, Int, Int)] {
      let error = try #require(throws: ControlError.self) { try frames(asked: asked, queues: queues, used: used, limit: limit) }
      #expect(error.kind == .resourceExhausted && error.message.contains("ring_entries"), "\(error)")
    }
  }
}
