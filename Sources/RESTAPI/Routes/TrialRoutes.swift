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
      answer: .data(outcome), errors: [.conflict] + NodeRoutes.daemonErrors
    ) { call, services in
      try await end(call, services) { name, revisions in
        for revision in revisions { try await ApprovalRoutes.check(RuleSet(name: name, revision: revision), services) }
      } decide: { node, waiting in
        try await services.nodes.confirm(node, interfaces: waiting.map(\.wanted.interface))
        for (wanted, observed) in waiting {
          _ = try await services.store.recordApplied(
            attachmentID: wanted.id, ruleSet: observed.ruleSet, revision: observed.revision)
        }
      }
    },
    Route(
      .post, base + "/withdraw", "withdrawRuleSet", tag: "rule sets",
      "Go back now from what was applied with confirm_within_seconds.", access: .scope(.rulesApply), on: .ruleSet("name"),
      answer: .data(outcome), errors: [.conflict] + NodeRoutes.daemonErrors
    ) { call, services in
      try await end(call, services, decide: { node, waiting in
        try await services.nodes.withdraw(node, interfaces: waiting.map(\.wanted.interface))
      })
    },
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
    ]))

  private typealias Waiting = (wanted: Attachment, observed: Sluice_Control_V1_Attachment)

  /// Asks the nodes of all attachments what of this rule set waits there.
  ///
  /// - Parameter check: Of the rule set and its revisions that wait, before anything is decided.
  private static func end(
    _ call: Call, _ services: Services, check: (String, [UInt64]) async throws -> Void = { _, _ in },
    decide: (Node, [Waiting]) async throws -> Void
  ) async throws -> Reply {
    let name = try call.parameter("name")
    _ = try await services.store.ruleSet(named: name)
    let all = try await everything { try await services.store.attachments(AttachmentFilter(), $0) }
    var found: [(node: Node, waiting: [Waiting])] = []
    for (nodeName, wanted) in Dictionary(grouping: all, by: \.node).sorted(by: { $0.key < $1.key }) {
      let node = try await services.store.node(named: nodeName)
      let observed = try await services.nodes.status(node).attachments
      let waiting = wanted.compactMap { wanted in
        observed.first { $0.interface == wanted.interface && $0.ruleSet == name && $0.confirmByUnixNanos > 0 }
          .map { (wanted: wanted, observed: $0) }
      }
      if !waiting.isEmpty { found.append((node, waiting)) }
    }
    try await check(name, Set(found.flatMap { $0.waiting.map(\.observed.revision) }).sorted())
    var results: [JSONValue] = []
    for (node, waiting) in found {
      try await decide(node, waiting)
      results += waiting.map {
        [
          "node": .string(node.name), "interface": .string($0.wanted.interface), "revision": .count($0.observed.revision),
        ]
      }
    }
    guard !results.isEmpty else {
      throw APIError(
        .conflict, "nothing of this rule set waits for a confirmation: it stands, or the time was over",
        details: ["reason": "no_trial"])
    }
    return .data(["rule_set": .string(name), "results": .array(results)])
  }
}
