import Testing

@testable import Control

@Suite("The memory of captures")
struct CaptureMemoryTests {
  @Test(
    "Rings get smaller before a capture is refused; together they stay within the limit",
    arguments: [
      (1, 0, 64, 64), (1, 0, 1024, 64), (4, 0, 256, 64), (4, 1, 256, 32), (8, 192, 256, 8), (16, 192, 256, 4),
      (17, 192, 256, nil), (1, 253, 256, nil), (1, 252, 256, 4), (64, 0, 128, nil),
    ] as [(Int, Int, Int, Int?)])
  func share(queueCount: Int, used: Int, limit: Int, expected: Int?) {
    let byteCount = CaptureMemory.ringByteCount(queueCount: queueCount, used: used << 20, of: limit << 20)
    #expect(byteCount == expected.map { $0 << 20 })
  }

  @Test("The limit is a part of this machine's memory")
  func limit() {
    #expect(CaptureMemory.byteCountMax >= 64 << 20)
    #expect(CaptureMemory.byteCountMax < 1 << 50)
  }
}
