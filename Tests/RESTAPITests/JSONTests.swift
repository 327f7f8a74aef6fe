import ControlProtocol
import Foundation
import Testing

@testable import RESTAPI

@Suite("JSON")
struct JSONTests {
  @Test(
    "What is not JSON is refused",
    arguments: [
      "", " ", "{", "}", "[1,]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "'a'", "\"a", "\"\\x\"",
      "\"\u{1}\"",
      "\"\\u12\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "01", "-", "1.", "1e", "1e999", ".5", "+1",
      "nul",
      "True", "1 2", "{}x", "{\"a\":1,\"a\":2}", String(repeating: "[", count: 33) + String(repeating: "]", count: 33),
      String(repeating: "[", count: 100_000), "NaN", "Infinity", "\u{FEFF}{}",
    ])
  func refused(_ text: String) {
    #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: Array(text.utf8)) }
  }

  @Test(
    "Bytes that are not UTF-8 are refused",
    arguments: [[0x22, 0xff, 0x22], [0x22, 0xc0, 0x80, 0x22], [0xff]] as [[UInt8]])
  func refusedBytes(_ bytes: [UInt8]) {
    #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: bytes) }
  }

  private static let values: [(String, JSONValue)] = [
    ("null", .null), (" true\n", .bool(true)), ("0", .integer(0)), ("-1", .integer(-1)),
    ("9223372036854775807", .integer(.max)), ("9223372036854775808", .number(9_223_372_036_854_775_808)),
    ("1.5e1", .number(15)), ("\"\\u00e9\\ud83d\\ude00\"", .string("é😀")),
    ("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", .string("\"\\/\u{8}\u{c}\n\r\t")), ("[]", .array([])),
    ("{}", .object([:])), ("{\"b\":[1]}", .object(["b": .array([.integer(1)])])),
  ]

  @Test("Values are read as they are", arguments: values)
  func read(_ text: String, _ value: JSONValue) throws {
    #expect(try JSONValue(parsing: Array(text.utf8)) == value)
  }

  @Test("Members are sorted, and what is written reads back the same and as Foundation reads it")
  func written() throws {
    let value: JSONValue = ["z": 1, "a": ["\u{0}\u{1f}\u{7f}\"\\/é😀\u{2028}", .number(0.1), .null, true], "m": [:]]
    let text = value.text
    #expect(text.hasPrefix("{\"a\":") && text.hasSuffix("\"z\":1}"))
    #expect(try JSONValue(parsing: value.bytes()) == value)
    let foundation = try JSONSerialization.jsonObject(with: Data(value.bytes())) as? [String: Any]
    #expect((foundation?["a"] as? [Any])?.first as? String == "\u{0}\u{1f}\u{7f}\"\\/é😀\u{2028}")
  }

  @Test("A count beyond 63 bits stays at the greatest number")
  func counts() { #expect(JSONValue.count(UInt64.max) == .integer(.max)) }

  @Test("A number that JSON cannot say becomes null")
  func infinity() { #expect(JSONValue.array([.number(.infinity), .number(.nan)]).text == "[null,null]") }
}
