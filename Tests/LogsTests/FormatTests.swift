import Foundation
import Logging
import Testing

@testable import Logs

@Suite("Console lines")
struct ConsoleTests {
  @Test("A line for people: time, level, logger, message, fields")
  func human() throws {
    let line = ConsoleDestination.line(
      record("attached", level: .notice, ["interface": "eth0", "reason": "no driver support", "n": "\(3)"]), .human)
    #expect(
      line == "2026-11-21T03:04:05.678Z NOTICE test: attached interface=eth0 n=3 reason=\"no driver support\"")
  }

  @Test("A JSON line is one object with everything in it")
  func json() throws {
    let line = ConsoleDestination.line(record("a \"b\"", ["k": ["x": "1", "y": "2"]]), .json)
    let object = try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    #expect(object["time"] as? String == "2026-11-21T03:04:05.678901Z")
    #expect(object["level"] as? String == "info")
    #expect(object["logger"] as? String == "test")
    #expect(object["message"] as? String == "a \"b\"")
    #expect(object["metadata"] as? [String: String] == ["k.x": "1", "k.y": "2"])
  }

  @Test("Whatever is logged stays on its own line, in its own place", arguments: hostileTexts)
  func forging(_ text: String) throws {
    for format in ConsoleDestination.Format.allCases {
      let output = try written { descriptor in
        let console = ConsoleDestination(format: format, descriptor: descriptor)
        console.write(record("\(text)", [text: "\(text)"], label: text))
        #expect(console.droppedCount == 0)
      }
      #expect(output.hasSuffix("\n"))
      #expect(!output.dropLast().unicodeScalars.contains(where: SafeText.isHostile))
      if format == .json {
        let object = try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any]
        #expect(object?["level"] as? String == "info")
        #expect((object?["message"] as? String)?.hasPrefix(text.prefix(100)) == true)
      }
    }
  }

  @Test("A quote cannot end a value early")
  func quotes() {
    let line = ConsoleDestination.line(record("m", ["k": #"a" forged=1 \"#]), .human)
    #expect(line.hasSuffix(#"m k="a\" forged=1 \\""#))
  }

  @Test("A closed descriptor drops and counts")
  func closed() {
    let console = ConsoleDestination(format: .human, descriptor: -1)
    console.write(record("lost"))
    #expect(console.droppedCount == 1)
  }
}

@Suite("Time in logs")
struct TimeTests {
  @Test(
    "Agrees with the calendar",
    arguments: [0, 951_782_399, 951_782_400, 1_709_164_800, 1_709_251_199, 4_107_542_400, 253_402_300_799, -1, 86_399])
  func calendar(_ seconds: Int64) {
    let expected = Date(timeIntervalSince1970: Double(seconds)).formatted(.iso8601).dropLast()
    #expect(LogTime(seconds: seconds, microseconds: 42).text() == "\(expected).000042Z")
    #expect(LogTime(seconds: seconds, microseconds: 999_999).text(fractionDigits: 3) == "\(expected).999Z")
  }
}

@Suite("Redaction and limits")
struct RecordTests {
  @Test(
    "Secrets never reach a destination",
    arguments: [
      "password", "DB_PASS", "new_password", "refresh_token", "accessToken", "Authorization", "X-API-Key", "jwt",
      "client.secret", "set-cookie", "pass", "private_key", "db.pass",
    ])
  func secrets(_ key: String) {
    let plain = record("m", [key: "hunter2"])
    let nested = record("m", ["request": [key: "hunter2"]])
    let listed = record("m", ["requests": [[key: "hunter2"]]])
    let dictionary = record("m", [key: ["inner": "hunter2"]])
    for record in [plain, nested, listed, dictionary] {
      #expect(record.fields.allSatisfy { !$0.value.contains("hunter2") }, "\(record.fields)")
      #expect(record.fields.contains { $0.value.contains(Redaction.mark) })
    }
  }

  @Test("What only resembles a secret is kept", arguments: ["passed", "packets", "author", "bypass", "interface"])
  func harmless(_ key: String) {
    #expect(record("m", [key: "kept"]).fields.first?.value == "kept")
  }

  @Test(
    "A bearer token is taken out of any text",
    arguments: [
      ("Authorization: Bearer abc.def.ghi end", "Authorization: Bearer [redacted] end"),
      ("bearer  abc", "bearer  [redacted]"), ("Bearer", "Bearer"), ("the bearer of news", "the bearer [redacted] news"),
      ("no token here", "no token here"),
    ])
  func bearer(_ text: String, _ expected: String) {
    #expect(record("\(text)").message == expected)
    #expect(record("m", ["header": "\(text)"]).fields.first?.value == expected)
  }

  @Test("Long texts are cut between characters, and fields beyond the limit are left out")
  func limits() {
    let text = "x" + String(repeating: "é", count: 20_000)
    let long = record("\(text)", ["k": "\(text)"])
    #expect(long.message.utf8.count <= LogRecord.messageByteCountMax + 3)
    #expect(text.hasPrefix(long.message.dropLast()))
    #expect(long.fields[0].value.utf8.count <= LogRecord.valueByteCountMax + 3)
    let many = Dictionary(uniqueKeysWithValues: (0..<200).map { ("k\($0)", Logger.MetadataValue.string("v")) })
    #expect(record("m", many).fields.count == LogRecord.fieldsMax)
    let named = record("m", [text: "v"], label: text)
    #expect(named.fields[0].key.utf8.count <= LogRecord.nameByteCountMax + 3)
    #expect(named.label.utf8.count <= LogRecord.nameByteCountMax + 3)
  }
}
