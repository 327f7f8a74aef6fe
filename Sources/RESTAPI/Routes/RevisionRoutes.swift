import ControlProtocol
import Foundation
import Hummingbird
import Rules
import Storage

/// Between revisions: what differs, back to an older one, and a rule set as one text.
enum RevisionRoutes {
  private static let base = RuleSetRoutes.base + "/{name}"

  static let all: [Route] = [
    Route(
      .get, base + "/revisions/{revision}/diff", "compareRevisions", tag: "rule sets",
      "What changed from another revision, the one before where none is named, to this one.",
      access: .scope(.rulesRead), on: .ruleSet("name"), query: [.optional("from", .integer(1...Int64.max))], answer: .data(difference)
    ) { call, services in
      let name = try call.parameter("name")
      let number = try call.revision()
      let new = try await services.store.ruleSetRevision(named: name, number: number)
      let from = call.query["from"]?.integer.map { UInt64($0) } ?? number - 1
      let old: RuleSetRevision? =
        from == 0 ? nil : try await services.store.ruleSetRevision(named: name, number: from)
      return .data(compare(old, new, from: from))
    },
    Route(
      .post, base + "/revisions/{revision}/restore", "restoreRevision", tag: "rule sets",
      "Make a new revision with the content of an older one. It decides once it is applied.",
      access: .scope(.rulesWrite), on: .ruleSet("name"), query: [RuleSetRoutes.reason], answer: .data(RuleSetRoutes.ruleSet),
      errors: [.staleRevision]
    ) { call, services in
      let name = try call.parameter("name")
      let old = try await services.store.ruleSetRevision(named: name, number: try call.revision())
      var edit = try call.edit()
      edit.reason = edit.reason ?? "back to revision \(old.info.number)"
      let stored = try await services.store.updateRuleSet(named: name, edit) { draft in
        let name = draft.content.name
        draft.content = old.content
        draft.content.name = name
        draft.description = old.description
        // Limits may have changed since.
        try draft.content.check()
      }
      return Reply.data(RuleSetRoutes.json(stored), warnings: try stored.content.checked())
        .at(revision: stored.revision)
    },
    Route(
      .get, base + "/text", "exportRuleSet", tag: "rule sets",
      "A rule set as text, which importRuleSet and the sluice command read: the same rules, with their comments.",
      access: .scope(.rulesRead), on: .ruleSet("name"), query: [.optional("revision", .integer(1...Int64.max))], answer: .data(text)
    ) { call, services in
      let name = try call.parameter("name")
      let content: RuleSet =
        if let number = call.query["revision"]?.integer {
          try await services.store.ruleSetRevision(named: name, number: UInt64(number)).content
        } else { try await services.store.ruleSet(named: name).content }
      return Reply.data(["text": .string(RuleSetText.print(content))]).at(revision: content.revision)
    },
    Route(
      .put, base + "/text", "importRuleSet", tag: "rule sets",
      "Replace what a rule set says by a text: a new revision, or none where it says the same.",
      access: .scope(.rulesWrite), on: .ruleSet("name"), query: [RuleSetRoutes.reason], body: text,
      bodyBytesMax: APILimits.ruleSetBodyBytesMax, answer: .data(RuleSetRoutes.ruleSet), errors: [.staleRevision]
    ) { call, services in
      let name = try call.parameter("name")
      let text = try call.body.text("text")
      let content = try parse(text, name)
      let stored = try await services.store.updateRuleSet(named: name, try call.edit()) { draft in
        draft.content = content
        try content.check(readFrom: text)
      }
      return Reply.data(RuleSetRoutes.json(stored), warnings: try stored.content.checked())
        .at(revision: stored.revision)
    },
  ]

  private static let text = Schema.named(
    "RuleSetText",
    .object([.required("text", .string(StringShape(bytes: 1...Limits.textByteCountMax, allowsLines: true)))]))

  private static func parse(_ text: String, _ name: String) throws -> RuleSet {
    let content: RuleSet
    do throws(RuleTextError) { content = try RuleSetText.parse(text) } catch {
      throw APIError.validation("text", "invalid", error.description)
    }
    guard content.name == name else {
      throw APIError.validation("text", "contradiction", "is that of the rule set \(content.name), not of \(name)")
    }
    return content
  }

  // MARK: Comparison

  private static let difference = Schema.named(
    "RevisionDifference",
    .object([
      .required("from", .count, "0: nothing, before the first"), .required("to", .count),
      .required("added", .array(RuleShapes.placedRule, max: Int.max)),
      .required("removed", .array(RuleShapes.placedRule, max: Int.max)),
      .required(
        "changed",
        .array(
          .object([.required("before", RuleShapes.placedRule), .required("after", RuleShapes.placedRule)]),
          max: Int.max)),
      .required(
        "moved", .array(.string(), max: Int.max),
        "Rules that others have overtaken, or that are in another list: a chain's, or the rule set's own"),
      .required(
        "sets",
        .array(
          .object([
            .required("name", .string()), .required("added", .count, "Elements, also those that end at another time"),
            .required("removed", .count),
          ]), max: Int.max), "Sets of both whose elements differ"),
      .required(
        "settings",
        .array(
          .object([
            .required("name", .string()), .required("before", .nullable(.string())),
            .required("after", .nullable(.string())),
          ]), max: Int.max)),
    ]))

  private static func compare(_ old: RuleSetRevision?, _ new: RuleSetRevision, from: UInt64) -> JSONValue {
    let before = old.map { places($0.content) } ?? []
    let after = places(new.content)
    let oldIndex = Dictionary(before.enumerated().map { ($1.rule.name, $0) }, uniquingKeysWith: { first, _ in first })
    let names = Set(after.map(\.rule.name))
    let common = after.compactMap { place in oldIndex[place.rule.name].map { (index: $0, old: before[$0], new: place) } }
    let changed = common.compactMap { _, old, new -> JSONValue? in
      old.rule == new.rule ? nil : ["before": old.json, "after": new.json]
    }
    // Who has gone to another list has overtaken nobody there, and lies in wait for other packets.
    let stayed = longestRise(common.filter { $0.old.chain == $0.new.chain }.map(\.index))
    let moved = common.filter { !stayed.contains($0.index) }.map(\.new.rule.name)
    return [
      "from": .count(from), "to": .count(new.info.number),
      "added": .array(after.filter { oldIndex[$0.rule.name] == nil }.map(\.json)),
      "removed": .array(before.filter { !names.contains($0.rule.name) }.map(\.json)),
      "changed": .array(changed), "moved": .strings(moved), "sets": .array(sets(old, new)), "settings": .array(settings(old, new)),
    ]
  }

  /// A rule where it stands: in the rule set's own list, or a chain's.
  private struct Place {
    let rule: Rule
    let chain: String?
    let position: Int

    var json: JSONValue { rule.json(position: position) }
  }

  private static func places(_ content: RuleSet) -> [Place] {
    content.lists.flatMap { chain, rules in
      rules.enumerated().map { Place(rule: $1, chain: chain, position: $0) }
    }
  }

  private static func sets(_ old: RuleSetRevision?, _ new: RuleSetRevision) -> [JSONValue] {
    new.content.sets.compactMap { set in
      guard let former = old?.content.sets.first(where: { $0.name == set.name && $0.kind == set.kind }) else { return nil }
      let (inserted, removed) = set.difference(from: former)
      return inserted.isEmpty && removed.isEmpty
        ? nil : ["name": .string(set.name), "added": .count(inserted.count), "removed": .count(removed.count)]
    }
  }

  private static func settings(_ old: RuleSetRevision?, _ new: RuleSetRevision) -> [JSONValue] {
    func values(_ revision: RuleSetRevision) -> [(String, String)] {
      let malformed = revision.content.malformed
      func list(_ names: [String]) -> String { names.joined(separator: ", ") }
      func digest(_ set: NamedSet) -> String {
        let words = [set.name, set.kind.rawValue, "(\(set.count))"] + (set.hasCounters ? ["counters"] : [])
        return (words + (set.comment.isEmpty ? [] : ["\"\(set.comment)\""])).joined(separator: " ")
      }
      let exceptions = malformed.exceptions.map { "\($0.key.rawValue) \($0.value.rawValue)" }.sorted()
      return [
        ("name", revision.content.name), ("description", revision.description),
        ("default_action", revision.content.defaultAction.rawValue), ("malformed", malformed.fate.rawValue),
        ("malformed_exceptions", list(exceptions)), ("chains", list(revision.content.chains.map(\.name))),
        ("sets", list(revision.content.sets.map(digest))),
      ]
    }
    let before = old.map { Dictionary(values($0), uniquingKeysWith: { first, _ in first }) } ?? [:]
    return values(new).compactMap { name, value in
      before[name] == value
        ? nil : ["name": .string(name), "before": .optional(before[name]), "after": .string(value)]
    }
  }

  /// Of numbers that differ, as many as possible that rise: those of the rules that need not be called moved. n log n.
  static func longestRise(_ numbers: [Int]) -> Set<Int> {
    var ends: [Int] = []  // index of the least last number of a rise of each length
    var previous = [Int](repeating: -1, count: numbers.count)
    for (index, number) in numbers.enumerated() {
      var low = 0
      var high = ends.count
      while low < high {
        let middle = (low + high) / 2
        if numbers[ends[middle]] < number { low = middle + 1 } else { high = middle }
      }
      if low > 0 { previous[index] = ends[low - 1] }
      if low == ends.count { ends.append(index) } else { ends[low] = index }
    }
    var rise: Set<Int> = []
    var index = ends.last ?? -1
    while index >= 0 {
      rise.insert(numbers[index])
      index = previous[index]
    }
    return rise
  }
}

extension Call {
  /// The revision that the path names.
  func revision() throws -> UInt64 {
    let text = try parameter("revision")
    guard let number = UInt64(text), number > 0, number <= UInt64(Int64.max) else {
      throw APIError.notFound("revision", text)
    }
    return number
  }
}
