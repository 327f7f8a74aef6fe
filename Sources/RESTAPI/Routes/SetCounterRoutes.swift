import ControlProtocol
import Hummingbird
import Rules
import Storage

/// What the elements of a set have counted where it is live, on all attachments together.
enum SetCounterRoutes {
  private static let base = RuleSetRoutes.base + "/{name}/sets/{set}"
  private static let own = RouteSubject.set(ruleSet: "name", set: "set")
  private static let errors: [ErrorCode] = [.conflict] + NodeRoutes.daemonErrors

  private static let counted: [Field] = [
    .required("element", .string()),
    .required("packets", .nullable(.count), "Null: it is live nowhere"), .required("bytes", .nullable(.count)),
  ]

  static let all: [Route] = [
    Route(
      .get, base + "/counters", "listElementCounters", tag: "sets",
      "What the elements have counted, in order of their numbers; of a set with counters. On all attachments together.",
      access: .scope(.countersRead), on: own, answer: .page(.named("ElementCounter", .object(counted)), by: .elements), errors: errors
    ) { call, services in
      let (stored, set) = try await set(call, services)
      let page = call.page
      let first = min(try call.position.map { try set.index(behind: $0) } ?? page.offset, set.count)
      let end = min(first + page.limit, set.count)
      let texts = set.members(first..<end).map(\.element.text)
      let counts = try await Counts(of: texts, in: set.name, of: stored.name, services)
      let part = Paged(items: texts, total: set.count, next: end < set.count ? texts.last.map { [.string($0)] } : nil)
      return Reply.page(part, page) { counts.json(of: $0) }.at(revision: stored.revision)
    },
    Route(
      .get, base + "/top", "topElements", tag: "sets",
      "The elements that have counted the most packets, the greatest first. Where several nodes have the set, of those that are "
        + "among the greatest of one.",
      access: .scope(.countersRead), on: own, query: [.optional("limit", .integer(1...1000), default: 20)],
      answer: .data(
        .named(
          "TopElements",
          .object([
            .required("elements", .array(.named("ElementCounter", .object(counted)), max: 1000)),
            .required("packets", .count, "Of all elements"), .required("bytes", .count),
            .required("counting", .count, "Elements that have counted anything; of several nodes the most that one has"),
            .required(
              "interfaces", .array(.object([.required("node", .string()), .required("interface", .string())]), max: Int.max),
              "Where they were read"),
          ]))), errors: errors
    ) { call, services in
      let (stored, set) = try await set(call, services)
      let limit = Int(call.query["limit"]?.integer ?? 20)
      return .data(try await top(limit, in: set.name, of: stored.name, services)).at(revision: stored.revision)
    },
  ]

  private static func set(_ call: Call, _ services: Services) async throws -> (StoredRuleSet, NamedSet) {
    let stored = try await services.store.ruleSet(named: try call.parameter("name"))
    var set = try stored.content.set(named: try call.parameter("set"))
    guard set.hasCounters else {
      throw APIError(
        .conflict, "the elements of \(set.name) don't count: give it counters and apply the rule set",
        details: ["reason": "no_counters"])
    }
    set.removeEnded(atUnixMilliseconds: .now)
    return (stored, set)
  }

  /// One answer of each node that has the rule set live.
  private static func ask(
    _ ruleSet: String, _ services: Services,
    _ body: (Node) async throws(NodeCallError) -> Sluice_Control_V1_GetSetCountersResponse
  ) async throws -> [(node: Node, answer: Sluice_Control_V1_GetSetCountersResponse)] {
    let attached = try await services.store.attachments(AttachmentFilter(ruleSet: ruleSet), Page(limit: Page.limitMax))
    var answers: [(node: Node, answer: Sluice_Control_V1_GetSetCountersResponse)] = []
    for name in Set(attached.items.map(\.node)).sorted() {
      let node = try await services.store.node(named: name)
      do throws(NodeCallError) {
        answers.append((node, try await body(node)))
      } catch {
        // It was never applied there.
        guard error.isNotFound else { throw error }
      }
    }
    return answers
  }

  /// Of some elements, all nodes together.
  private struct Counts {
    private var sums: [String: (packets: UInt64, bytes: UInt64)] = [:]

    init(of elements: [String], in set: String, of ruleSet: String, _ services: Services) async throws {
      if elements.isEmpty { return }
      let answers = try await SetCounterRoutes.ask(ruleSet, services) { node throws(NodeCallError) in
        try await services.nodes.setCounters(node, set, of: ruleSet, elements: elements)
      }
      for element in answers.flatMap(\.answer.elements) {
        let sum = sums[element.element] ?? (0, 0)
        sums[element.element] = (sum.packets &+ element.packets, sum.bytes &+ element.bytes)
      }
    }

    func packets(of element: String) -> UInt64 { sums[element]?.packets ?? 0 }

    func json(of element: String) -> JSONValue {
      let sum = sums[element]
      return [
        "element": .string(element), "packets": sum.map { .count($0.packets) } ?? .null,
        "bytes": sum.map { .count($0.bytes) } ?? .null,
      ]
    }
  }

  private static func top(
    _ limit: Int, in set: String, of ruleSet: String, _ services: Services
  ) async throws -> JSONValue {
    let answers = try await ask(ruleSet, services) { node throws(NodeCallError) in
      try await services.nodes.setCounters(node, set, of: ruleSet, top: UInt32(limit))
    }
    // At most ten thousand are asked for at a time: those of ten nodes.
    let candidates = Array(Set(answers.flatMap { $0.answer.elements.map(\.element) }).sorted().prefix(10_000))
    let counts = try await Counts(of: candidates, in: set, of: ruleSet, services)
    let order = candidates.sorted { (counts.packets(of: $1), $0) < (counts.packets(of: $0), $1) }
    return [
      "elements": .array(order.prefix(limit).map { counts.json(of: $0) }),
      "packets": .count(answers.reduce(0) { $0 &+ $1.answer.packets }),
      "bytes": .count(answers.reduce(0) { $0 &+ $1.answer.bytes }),
      "counting": .count(answers.map(\.answer.counting).max() ?? 0),
      "interfaces": .array(
        answers.flatMap { node, answer in
          answer.interfaces.map { ["node": .string(node.name), "interface": .string($0)] }
        }),
    ]
  }
}
