import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Rules
import Storage

/// Changes that want two people: a rule set may require that somebody else approves a revision before it is applied.
enum ApprovalRoutes {
  private static let base = RuleSetRoutes.base + "/{name}"
  private static let tag = "rule sets"

  static let all: [Route] = [
    Route(
      .get, base + "/approval", "getApproval", tag: tag, "Whether revisions must be approved, and what was decided.",
      access: .scope(.rulesRead), on: .ruleSet("name"), answer: .data(approval)
    ) { call, services in try await shown(try call.parameter("name"), services) },
    Route(
      .put, base + "/approval", "setApproval", tag: tag,
      "Require, or no longer, that somebody else approves a revision before it is applied.",
      access: .scope(.grantsWrite), on: .ruleSet("name"),
      body: .named("ApprovalPolicy", .object([.required("is_required", .boolean)])), answer: .data(approval),
      errors: [.preconditionFailed]
    ) { call, services in
      let name = try call.parameter("name")
      try await services.store.setRequiresApproval(
        call.body["is_required"]?.bool ?? true, ruleSet: name, if: try call.precondition(content))
      return try await shown(name, services)
    },
    Route(
      .post, base + "/revisions/{revision}/approve", "approveRevision", tag: tag,
      "Approve a revision: it may be applied. Not for who has written it, or one before it since the last approved one. "
        + "A later revision needs an approval of its own.",
      access: .scope(.rulesApprove), on: .ruleSet("name"), body: comment, bodyIsOptional: true,
      answer: .data(decision), errors: [.ownChange, .accountRequired]
    ) { call, services in try await decide(call, services, isApproved: true) },
    Route(
      .post, base + "/revisions/{revision}/reject", "rejectRevision", tag: tag,
      "Reject a revision, also one that was approved: it must not be applied.", access: .scope(.rulesApprove),
      on: .ruleSet("name"), body: comment, bodyIsOptional: true, answer: .data(decision),
      errors: [.ownChange, .accountRequired]
    ) { call, services in try await decide(call, services, isApproved: false) },
  ]

  private static let comment = Schema.named(
    "Decision", .object([.optional("comment", .text(max: 512), default: "")]))

  private static let decision = Schema.named(
    "RevisionDecision",
    .object([
      .required("revision", .count), .required("decision", .words(["approved", "rejected"])),
      .required("by", Shapes.author), .required("comment", .string()), .required("at", .timestamp),
    ]))

  private static let approval = Schema.named(
    "Approval",
    .object([
      .required("is_required", .boolean), .required("decisions", .array(decision, max: Int.max), "The newest 100"),
    ]))

  /// What can be edited, for the entity tag.
  @Sendable private static func content(_ isRequired: Bool) -> JSONValue { ["is_required": .bool(isRequired)] }

  private static func shown(_ name: String, _ services: Services) async throws -> Reply {
    let isRequired = try await services.store.requiresApproval(ruleSet: name)
    let decisions = try await services.store.decisions(ruleSet: name, Page(limit: 100)).items.map(json)
    return Reply.data(["is_required": .bool(isRequired), "decisions": .array(decisions)]).tagged(content(isRequired))
  }

  private static func json(_ decision: RevisionDecision) -> JSONValue {
    [
      "revision": .count(decision.revision), "decision": .string(decision.isApproved ? "approved" : "rejected"),
      "by": [
        "user_id": .optional(decision.author.userID?.uuidString.lowercased()), "email": .string(decision.author.email),
      ], "comment": .string(decision.comment), "at": .time(decision.decidedAt),
    ]
  }

  private static func decide(_ call: Call, _ services: Services, isApproved: Bool) async throws -> Reply {
    let caller = try call.caller()
    guard caller.kind == .user else {
      throw APIError(.accountRequired, "a person approves: an API client is not somebody else than its owner")
    }
    let made = try await services.store.decide(
      ruleSet: try call.parameter("name"), revision: try call.revision(), isApproved: isApproved, by: caller.author,
      comment: call.body["comment"]?.string ?? "")
    return .data(json(made))
  }

  /// Before a revision is told to a daemon, by whatever route: throws where it wants an approval that it has not.
  static func check(_ content: RuleSet, _ services: Services) async throws {
    guard try await services.store.requiresApproval(ruleSet: content.name) else { return }
    try await checkApproved(content, services)
  }

  /// Of a rule set that requires it.
  static func checkApproved(_ content: RuleSet, _ services: Services) async throws {
    let decision = try await services.store.decision(ruleSet: content.name, revision: content.revision)
    guard decision?.isApproved != true else { return }
    let state = decision == nil ? "nobody has approved" : "\(decision?.author.email ?? "somebody") has rejected"
    throw APIError(
      .conflict,
      "\(state) revision \(content.revision) of \(content.name): somebody else than its authors has to "
        + "(POST \(base)/revisions/\(content.revision)/approve)".replacing("{name}", with: content.name),
      details: ["reason": "approval_required", "revision": .count(content.revision)])
  }
}
