import Audit
import Foundation
import Rules

/// The text of a revision's content as it is stored and hashed: what `JSONEncoder` with sorted keys makes of it, without
/// the number that each revision has anew, so that equal contents have equal texts.
///
/// It knows where each rule and each element of a set stands. The next revision's text takes from it what is the same:
/// a change of one rule encodes that rule.
struct RevisionText: Sendable {
  private let content: RuleSet
  private let rules: EncodedList
  private let chains: [UInt8]
  private let elements: [EncodedList]
  let bytes: [UInt8]
  /// SHA-256, as the audit log has it.
  let digest: String

  /// - Parameter old: any other's, best one that differs little.
  init(_ content: RuleSet, after old: RevisionText? = nil) throws {
    self.content = content
    rules = try EncodedList(
      count: content.rules.count, after: old.map { ($0.rules, content.rules.commonEnds(with: $0.content.rules)) }
    ) { try Self.json(Array(content.rules[$0])) }
    if let old, old.content.chains == content.chains { chains = old.chains } else { chains = try Self.json(content.chains) }
    elements = try content.sets.map { set in
      let index = old?.content.sets.firstIndex { $0.name == set.name }
      let known = index.flatMap { index in
        old.map { old in (old.elements[index], set.commonEnds(with: old.content.sets[index])) }
      }
      return try EncodedList(count: set.count, after: known) { try Self.json(set.texts($0)) }
    }
    bytes = try Self.whole(content, rules, chains, elements)
    digest = AuditChain.digest(bytes)
  }

  private static func whole(
    _ content: RuleSet, _ rules: EncodedList, _ chains: [UInt8], _ elements: [EncodedList]
  ) throws -> [UInt8] {
    var plain = RuleSet(name: content.name, defaultAction: content.defaultAction)
    plain.malformed = content.malformed
    let frame = try json(plain)
    // Of the keys in their order "chains" is the first, "rules" and "sets" are the last.
    let end = Array(#""rules":[]}"#.utf8)
    precondition(frame.first == UInt8(ascii: "{") && frame.suffix(end.count).elementsEqual(end), "the keys have an order")
    var bytes: [UInt8] = []
    bytes.reserveCapacity(frame.count + chains.count + rules.bytes.count + elements.reduce(64) { $0 + $1.bytes.count + 256 })
    bytes += "{".utf8
    if !content.chains.isEmpty {
      bytes += #""chains":"#.utf8
      bytes += chains
      bytes += ",".utf8
    }
    bytes += frame[1..<frame.count - end.count]
    bytes += #""rules":["#.utf8
    bytes += rules.bytes
    bytes += "]".utf8
    for (index, set) in content.sets.enumerated() {
      bytes += (index == 0 ? #","sets":["# : ",").utf8
      var empty = NamedSet(name: set.name, kind: set.kind, comment: set.comment)
      empty.hasCounters = set.hasCounters
      // In no text of a JSON document: its quotes would have a backslash each.
      let parts = String(decoding: try json(empty), as: UTF8.self).split(separator: #""elements":[]"#, maxSplits: 1)
      precondition(parts.count == 2, "a set has elements")
      bytes += parts[0].utf8
      bytes += #""elements":["#.utf8
      bytes += elements[index].bytes
      bytes += "]".utf8
      bytes += parts[1].utf8
    }
    bytes += (content.sets.isEmpty ? "}" : "]}").utf8
    return bytes
  }

  private static func json(_ value: some Encodable) throws -> [UInt8] { Array(try SQLValue.encoded(value)) }
}

/// The values of a JSON array, without its brackets, and where each of them ends.
struct EncodedList: Sendable {
  let bytes: [UInt8]
  private let ends: [Int]

  /// - Parameters:
  ///   - known: another list, with how many values at its beginning and its end are the same.
  ///   - json: the array of a part of the values.
  init(
    count: Int, after known: (list: EncodedList, ends: (first: Int, last: Int))?, _ json: (Range<Int>) throws -> [UInt8]
  ) rethrows {
    guard let (old, same) = known, same.first + same.last > 0 else {
      let array = try json(0..<count)
      bytes = Array(array.dropFirst().dropLast())
      ends = Self.ends(of: bytes, count: count)
      return
    }
    if same.first + same.last == count, count == old.ends.count {
      self = old
      return
    }
    let array = try json(same.first..<count - same.last)
    let new = Array(array.dropFirst().dropLast())
    let head = same.first == 0 ? 0 : old.ends[same.first - 1]
    let tail = same.last == 0 ? old.bytes.count : old.start(of: old.ends.count - same.last)
    var bytes = Array(old.bytes[..<head])
    bytes.reserveCapacity(old.bytes.count + new.count + 2)
    var ends = Array(old.ends[..<same.first])
    ends.reserveCapacity(count)
    func append(_ part: some Collection<UInt8>, _ partEnds: [Int]) {
      guard !partEnds.isEmpty else { return }
      if !bytes.isEmpty { bytes.append(UInt8(ascii: ",")) }
      let offset = bytes.count
      bytes += part
      ends += partEnds.map { $0 + offset }
    }
    append(new, Self.ends(of: new, count: count - same.first - same.last))
    append(old.bytes[tail...], old.ends.suffix(same.last).map { $0 - tail })
    self.bytes = bytes
    self.ends = ends
  }

  private func start(of index: Int) -> Int { index == 0 ? 0 : ends[index - 1] + 1 }

  private static func ends(of bytes: [UInt8], count: Int) -> [Int] {
    guard count > 0 else { return [] }
    var ends: [Int] = []
    ends.reserveCapacity(count)
    var depth = 0
    var isText = false
    var isEscaped = false
    for (index, byte) in bytes.enumerated() {
      if isText {
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isText = false
        }
        continue
      }
      switch byte {
      case UInt8(ascii: "\""): isText = true
      case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
      case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
      case UInt8(ascii: ",") where depth == 0: ends.append(index)
      default: break
      }
    }
    ends.append(bytes.count)
    precondition(ends.count == count, "as many values as were encoded")
    return ends
  }
}
