import ControlProtocol
import Testing

@testable import RESTAPI

@Suite("Schemas")
struct SchemaTests {
  private let schema = Schema.object([
    .required("name", Shapes.name), .optional("size", .integer(1...10), default: 5), .optional("on", .boolean),
    .optional("tags", .array(.text(max: 3), max: 2)), .optional("inner", .strictObject([.optional("x", .number)])),
    .optional("fates", .map(Shapes.fate, keys: ["a", "b"])), .optional("note", .nullable(.text(max: 8, min: 1))),
  ])

  private static let wrong: [(String, [String])] = [
    (#"{}"#, ["name:required"]), (#"{"name":1}"#, ["name:wrong_type"]), (#"{"name":null}"#, ["name:wrong_type"]),
    (#"{"name":"a","size":0}"#, ["size:out_of_range"]), (#"{"name":"a","size":11}"#, ["size:out_of_range"]),
    (#"{"name":"a","size":1.5}"#, ["size:wrong_type"]), (#"{"name":"a","size":"5"}"#, ["size:wrong_type"]),
    (#"{"name":"a","on":"true"}"#, ["on:wrong_type"]), (#"{"name":"a","on":1}"#, ["on:wrong_type"]),
    (#"{"name":"a","tags":["abcd",1]}"#, ["tags[0]:too_long", "tags[1]:wrong_type"]),
    (#"{"name":"a","tags":["a","b","c"]}"#, ["tags:too_many"]), (#"{"name":"a","tags":"a"}"#, ["tags:wrong_type"]),
    (#"{"name":"a","tags":["\u0000"]}"#, ["tags[0]:invalid"]), (#"{"name":"a","tags":["\n"]}"#, ["tags[0]:invalid"]),
    (#"{"name":"a","inner":{"y":1}}"#, ["inner.y:unknown_field"]), (#"{"name":"a","inner":[]}"#, ["inner:wrong_type"]),
    (#"{"name":"a","fates":{"c":"pass"}}"#, ["fates.c:not_allowed"]),
    (#"{"name":"a","fates":{"a":"passs"}}"#, ["fates.a:not_allowed"]), (#"{"name":"a","note":""}"#, ["note:too_short"]),
    (#"{"name":"","size":99}"#, ["name:too_short", "size:out_of_range"]), ("[1]", [":wrong_type"]),
    (#""x""#, [":wrong_type"]),
  ]

  @Test("Everything wrong is reported with its path", arguments: wrong)
  func problems(_ text: String, _ expected: [String]) throws {
    let value = try JSONValue(parsing: Array(text.utf8))
    #expect(schema.check(value).problems.map { "\($0.path):\($0.code)" } == expected)
  }

  @Test("Unknown members are dropped with a warning, absent ones get their default")
  func unknown() {
    let checked = schema.check(["name": "a", "colour": "red", "note": .null, "inner": ["x": 2]])
    #expect(checked.problems == [])
    #expect(checked.warnings == ["unknown field ignored: colour"])
    #expect(checked.value == ["name": "a", "size": 5, "note": .null, "inner": ["x": 2]])
  }

  @Test("A partial shape requires nothing and fills nothing in")
  func partial() {
    let checked = schema.partial().check([:])
    #expect(checked.problems == [])
    #expect(checked.value == [:])
  }

  @Test("However wrong a body is, the report stays small")
  func bounded() {
    let many = JSONValue.array(Array(repeating: 1, count: 5000))
    let report = Schema.array(.text(max: 1), max: 10_000).check(many)
    #expect(report.problems.count == Schema.reportsMax)
    let members = JSONValue.object(Dictionary(uniqueKeysWithValues: (0..<5000).map { ("k\($0)", .null) }))
    #expect(Schema.object([]).check(members).warnings.count == Schema.reportsMax)
  }

  @Test(
    "The documented pattern of a name says what its check says",
    arguments: [
      "a", "0", "a-b_c.d", "-a", ".a", "_a", "A", "ä", "a b", "a/b", "", String(repeating: "a", count: 63),
      String(repeating: "a", count: 64), "a\n", "default",
    ])
  func patterns(_ text: String) throws {
    guard case .string(let shape) = Shapes.name, let pattern = shape.pattern else {
      Issue.record("a name is a string with a pattern")
      return
    }
    let matches = try Regex(pattern).wholeMatch(in: text) != nil
    #expect(Shapes.name.check(.string(text)).problems.isEmpty == matches)
  }
}
