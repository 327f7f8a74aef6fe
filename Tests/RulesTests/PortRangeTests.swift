import Packets
import Rules
import Testing

@Suite("Port ranges as text")
struct PortRangeTests {
  @Test(
    "Ports and ranges are read and written",
    arguments: [
      ("0", 0, 0), ("443", 443, 443), ("65535", 65535, 65535), ("8000-8080", 8000, 8080), ("0-65535", 0, 65535),
    ])
  func read(_ text: String, _ low: UInt16, _ high: UInt16) throws {
    let range = try PortRange(parsing: text)
    #expect(range == PortRange(low: low, high: high))
    #expect(range.description == text)
    #expect(range.contains(low) && range.contains(high))
    #expect(low == 0 || !range.contains(low - 1))
    #expect(high == .max || !range.contains(high + 1))
  }

  @Test("A range of one port is written as the port")
  func single() throws {
    #expect(try PortRange(parsing: "53-53").description == "53")
  }

  @Test(
    "What is not a port is refused",
    arguments: [
      "", "-", "70000", "65536", "-1", "1-", "-1-2", "1-2-3", "08", "00", "1 - 2", " 1", "1 ", "+1", "1–2", "http",
      "1:2",
      "0-65536", "٤٤٣", "1\n", String(repeating: "9", count: 1_000_000),
    ])
  func refused(_ text: String) {
    #expect(PortRange(text) == nil)
  }

  @Test("A range that runs downwards is refused with the right one")
  func downwards() throws {
    let error = try #require(throws: ValueTextError.self) { try PortRange(parsing: "8080-8000") }
    #expect(error.suggestion == "8000-8080")
  }
}
