import ControlProtocol
import Foundation
import Hummingbird
import Rules
import Storage

/// What becomes of a rule set that was applied with `confirm_within_seconds`. The daemons know what waits; they alone go
/// back when the time is over.
enum TrialRoutes {
  private static let base = RuleSetRoutes.base + "/{name}"

  static let all: [Route] = [
    Route(
      .post, base + "/confirm", "confirmRuleSet", tag: "rule sets",
      "Confirm what was applied with confirm_within_seconds: it stands. Where the rule set wants an approval, it is asked for "
        + "again: it may have been taken back, or be wanted only now.", access: .scope(.rulesApply), on: .ruleSet("name"),
      query: places, answer: .data(outcome), errors: [.conflict] + NodeRoutes.daemonErrors
    ) { call, services in
      try await end(call, services) { name, revisions in
        for revision in revisions { try await ApprovalRoutes.check(RuleSet(name: name, revision: revision), services) }
      } decide: { node, name, revision, waiting in
        try await services.nodes.confirm(node, interfaces: waiting.map(\.interface), of: name, revision: revision)
        for wanted in waiting {
          _ = try await services.store.recordApplied(attachmentID: wanted.id, ruleSet: name, revision: revision)
        }
      }
    },
    Route(
      .post, base + "/withdraw", "withdrawRuleSet", tag: "rule sets",
      "Go back now from what was applied with confirm_within_seconds.", access: .scope(.rulesApply), on: .ruleSet("name"),
      query: places, answer: .data(outcome), errors: [.conflict] + NodeRoutes.daemonErrors
    ) { call, services in
      try await end(call, services, decide: { node, name, revision, waiting in
        try await services.nodes.withdraw(node, interfaces: waiting.map(\.interface), of: name, revision: revision)
      })
    },
  ]

  private static let places: [Field] = [
    .optional("node", Shapes.name, "On this node only"), .optional("interface", Shapes.interface, "On this interface only"),
  ]

  private static let outcome = Schema.named(
    "TrialOutcome",
    .object([
      .required("rule_set", .string()),
      .required(
        "results",
        .array(
          .object([
            .required("node", .string()), .required("interface", .string()), .required("revision", .count, "On trial"),
          ]), max: Int.max)),
      .required(
        "unreachable", .array(.string(), max: Int.max), "Nodes that could not be asked; what waits there does so still"),
    ]))

  /// What of a rule set waits on a node.
  private struct Waiting: Sendable {
    let node: Node
    var revisions: [UInt64: [Attachment]] = [:]
  }

  /// - Parameters:
  ///   - check: Of the rule set and its revisions that wait, before anything is decided.
  ///   - decide: About what waits of one revision on a node.
  private static func end(
    _ call: Call, _ services: Services, check: (String, [UInt64]) async throws -> Void = { _, _ in },
    decide: (Node, String, UInt64, [Attachment]) async throws -> Void
  ) async throws -> Reply {
    let name = try call.parameter("name")
    _ = try await services.store.ruleSet(named: name)
    let places = AttachmentFilter(node: call.query["node"]?.string, interface: call.query["interface"]?.string)
    let all = try await everything { try await services.store.attachments(places, $0) }
    let (found, failures) = try await ask(all, about: name, services)
    guard !found.isEmpty else { throw nothingFound(failures) }
    let nodes = found.map(\.node.name)
    return try await ApplyRoutes.holding(nodes[...], services) {
      // Once more: somebody may have applied another one, and nobody does now.
      let (waiting, lateFailures) = try await ask(all.filter { nodes.contains($0.node) }, about: name, services)
      guard !waiting.isEmpty else { throw nothingFound(lateFailures) }
      try await check(name, Set(waiting.flatMap(\.revisions.keys)).sorted())
      var results: [JSONValue] = []
      for waiting in waiting {
        for (revision, attachments) in waiting.revisions.sorted(by: { $0.key < $1.key }) {
          do { try await decide(waiting.node, name, revision, attachments) } catch let error as NodeCallError
            where !results.isEmpty
          {
            throw ApplyRoutes.partly(error.apiError, applied: results)
          }
          results += attachments.map {
            ["node": .string($0.node), "interface": .string($0.interface), "revision": .count(revision)]
          }
        }
      }
      return .data([
        "rule_set": .string(name), "results": .array(results),
        "unreachable": .strings((failures + lateFailures).map(\.node).sorted()),
      ])
    }
  }

  /// A node that did not answer may be the one that was meant.
  private static func nothingFound(_ failures: [NodeCallError]) -> any Error {
    if let failure = failures.first { return failure }
    return APIError(
      .conflict, "nothing of this rule set waits for a confirmation there: it stands, or the time was over",
      details: ["reason": "no_trial"])
  }

  /// Asks the nodes of attachments, all at once: one that is away holds up nobody else's confirmation. Those where something
  /// waits, by name, and those that did not answer.
  private static func ask(
    _ attachments: [Attachment], about name: String, _ services: Services
  ) async throws -> (found: [Waiting], failures: [NodeCallError]) {
    try await withThrowingTaskGroup(of: Result<Waiting, NodeCallError>.self) { group in
      for (node, wanted) in Dictionary(grouping: attachments, by: \.node) {
        group.addTask {
          var waiting = Waiting(node: try await services.store.node(named: node))
          do throws(NodeCallError) {
            for observed in try await services.nodes.status(waiting.node).attachments
            where observed.ruleSet == name && observed.confirmByUnixNanos > 0 {
              guard let attachment = wanted.first(where: { $0.interface == observed.interface }) else { continue }
              waiting.revisions[observed.revision, default: []].append(attachment)
            }
          } catch {
            return .failure(error)
          }
          return .success(waiting)
        }
      }
      var (found, failures): ([Waiting], [NodeCallError]) = ([], [])
      for try await answer in group {
        switch answer {
        case .success(let waiting): if !waiting.revisions.isEmpty { found.append(waiting) }
        case .failure(let error): failures.append(error)
        }
      }
      return (found.sorted { $0.node.name < $1.node.name }, failures)
    }
  }
}
