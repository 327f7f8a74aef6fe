import ControlProtocol
import Foundation
import Hummingbird
import Rules
import Storage

/// Rule sets and their revisions.
enum RuleSetRoutes {
  static let base = RouteTable.base + "/rule-sets"

  static let all: [Route] = [
    Route(
      .get, base, "listRuleSets", tag: "rule sets", "All rule sets, by name.", access: .scope(.rulesRead), on: .anything,
      query: [.optional("search", .text(max: 254))], answer: .page(summary, by: .ruleSets)
    ) { call, services in
      let page = call.page
      return .page(try await services.store.ruleSets(
          search: call.query["search"]?.string, among: try call.visible(.ruleSet, with: .rulesRead), page), page,
        json(summary:))
    },
    Route(
      .post, base, "createRuleSet", tag: "rule sets", "Create a rule set: revision 1.", access: .scope(.rulesWrite), on: .teamInBody("team"),
      query: [reason], body: newOwnedRuleSet, bodyBytesMax: APILimits.ruleSetBodyBytesMax, answer: .created(ruleSet),
      errors: [.conflict, .notFound], handler: create),
    Route(
      .get, base + "/{name}", "getRuleSet", tag: "rule sets", "The newest revision of a rule set.",
      access: .scope(.rulesRead), on: .ruleSet("name"), answer: .data(ruleSet)
    ) { call, services in
      let stored = try await services.store.ruleSet(named: try call.parameter("name"))
      return Reply.data(json(stored)).at(revision: stored.revision)
    },
    Route(
      .patch, base + "/{name}", "updateRuleSet", tag: "rule sets",
      "Change a rule set: a new revision. If-Match refuses to build on another revision than the one named.",
      access: .scope(.rulesWrite), on: .ruleSet("name"), query: [reason], body: newRuleSet.partial(named: "RuleSetPatch"),
      bodyBytesMax: APILimits.ruleSetBodyBytesMax, answer: .data(ruleSet), errors: [.conflict, .staleRevision], handler: update),
    Route(
      .delete, base + "/{name}", "deleteRuleSet", tag: "rule sets",
      "Delete a rule set with its revisions; not while an attachment names it.", access: .scope(.rulesWrite), on: .ruleSet("name"),
      answer: .data(.object([.required("deleted", .boolean)])), errors: [.conflict, .staleRevision]
    ) { call, services in
      guard try call.caller().permissions.ruleLimits(on: call.things) == nil else { throw DelegationError.notARule }
      try await services.store.deleteRuleSet(
        named: try call.parameter("name"), expectedRevision: try call.expectedRevision())
      return .data(["deleted": true])
    },
    Route(
      .get, base + "/{name}/revisions", "listRevisions", tag: "rule sets", "All revisions, newest first.",
      access: .scope(.rulesRead), on: .ruleSet("name"), answer: .page(revisionInfo, by: .revisions)
    ) { call, services in
      let page = call.page
      let revisions = try await services.store.ruleSetRevisions(named: try call.parameter("name"), page)
      return .page(revisions, page) { .object(json(info: $0)) }
    },
    Route(
      .get, base + "/{name}/revisions/{revision}", "getRevision", tag: "rule sets", "One revision with its content.",
      access: .scope(.rulesRead), on: .ruleSet("name"), answer: .data(revision)
    ) { call, services in
      let text = try call.parameter("revision")
      guard let number = UInt64(text), number > 0, number <= UInt64(Int64.max) else {
        throw APIError.notFound("revision", text)
      }
      let revision = try await services.store.ruleSetRevision(named: try call.parameter("name"), number: number)
      var members = json(info: revision.info)
      members.merge(content(revision.content)) { _, new in new }
      return .data(.object(members))
    },
  ]

  // MARK: Shapes

  /// Why a change is made; written into the revision.
  static let reason = Field.optional("reason", .text(max: 256))

  static let newRuleSet = Schema.named(
    "NewRuleSet",
    .object([
      .required("name", Shapes.name), .optional("description", .text(max: 512), default: ""),
      .optional("default_action", Shapes.fate, default: "pass"),
      .optional("malformed", Shapes.fate, default: "drop", "What becomes of malformed packets"),
      .optional("malformed_exceptions", RuleShapes.exceptions, default: [:], "By reason"),
      .optional("rules", RuleShapes.rules, default: [], "In order; the first match decides"),
      .optional(
        "chains", .array(RuleShapes.chain, max: Limits.chainsMax), default: [], "Rules that others jump or go to"),
      .optional("sets", .array(RuleShapes.set, max: Limits.setsMax), default: [], "Elements that matches name: @blocked"),
    ]))

  private static let newOwnedRuleSet = Schema.named(
    "NewOwnedRuleSet",
    .object(newRuleSet.fields + [.optional("team", .nullable(Shapes.name), "That owns it; needed by who may write rules of his teams only")]))

  private static let contentFields: [Field] = [
    .required("name", .string()), .required("revision", .count), .required("default_action", Shapes.fate),
    .required("malformed", Shapes.fate), .required("malformed_exceptions", RuleShapes.exceptions),
    .required("rules", .array(RuleShapes.placedRule, max: Int.max)),
    .required("chains", .array(RuleShapes.placedChain, max: Int.max)),
    .required("sets", .array(RuleShapes.wholeSet, max: Int.max)),
  ]

  static let ruleSet = Schema.named(
    "RuleSet",
    .object(
      contentFields + [
        .required("id", Shapes.uuid), .required("description", .string()), .required("created_at", .timestamp),
        .required("updated_at", .timestamp), .required("author", Shapes.author),
        .required("reason", .nullable(.string())),
      ]))

  private static let summary = Schema.named(
    "RuleSetSummary",
    .object([
      .required("id", Shapes.uuid), .required("name", .string()), .required("description", .string()),
      .required("revision", .count), .required("rule_count", .count), .required("default_action", Shapes.fate),
      .required("created_at", .timestamp), .required("updated_at", .timestamp),
    ]))

  private static let infoFields: [Field] = [
    .required("revision", .count), .required("author", Shapes.author), .required("reason", .nullable(.string())),
    .required("rule_count", .count), .required("created_at", .timestamp),
  ]
  private static let revisionInfo = Schema.named("RevisionInfo", .object(infoFields))
  private static let revision = Schema.named(
    "Revision", .object(infoFields + contentFields.filter { $0.name != "revision" }))

  // MARK: JSON

  private static func content(_ content: RuleSet) -> [String: JSONValue] {
    [
      "name": .string(content.name), "revision": .count(content.revision),
      "default_action": .string(content.defaultAction.rawValue),
      "malformed": .string(content.malformed.fate.rawValue),
      "malformed_exceptions": .object(
        Dictionary(
          uniqueKeysWithValues: content.malformed.exceptions.map { ($0.key.rawValue, .string($0.value.rawValue)) })),
      "rules": .array(content.placedRules), "chains": .array(content.chains.map(\.json)),
      "sets": .array(content.sets.map(\.json)),
    ]
  }

  static func json(_ stored: StoredRuleSet) -> JSONValue {
    var members = content(stored.content)
    members["id"] = .string(stored.id.uuidString.lowercased())
    members["description"] = .string(stored.description)
    members["created_at"] = .time(stored.createdAt)
    members["updated_at"] = .time(stored.current.info.createdAt)
    members["author"] = json(stored.current.info.author)
    members["reason"] = .optional(stored.current.info.reason)
    return .object(members)
  }

  private static func json(summary: RuleSetSummary) -> JSONValue {
    [
      "id": .string(summary.id.uuidString.lowercased()), "name": .string(summary.name),
      "description": .string(summary.description), "revision": .count(summary.revision),
      "rule_count": .count(summary.ruleCount), "default_action": .string(summary.defaultAction.rawValue),
      "created_at": .time(summary.createdAt), "updated_at": .time(summary.updatedAt),
    ]
  }

  private static func json(info: RuleSetRevisionInfo) -> [String: JSONValue] {
    [
      "revision": .count(info.number), "author": json(info.author), "reason": .optional(info.reason),
      "rule_count": .count(info.ruleCount), "created_at": .time(info.createdAt),
    ]
  }

  private static func json(_ author: Author) -> JSONValue {
    ["user_id": .optional(author.userID?.uuidString.lowercased()), "email": .string(author.email)]
  }

  // MARK: Handlers

  @Sendable private static func create(_ call: Call, _ services: Services) async throws -> Reply {
    var content = RuleSet(name: try call.body.text("name"))
    try content.apply(checked: call.body)
    let warnings = try content.checked()
    services.validRuleSets.add(content)
    let stored = try await services.store.createRuleSet(
      content, description: try call.body.text("description"), team: call.body.present("team")?.string, try call.edit())
    // What a team owns is a part of what its members may.
    if call.body.present("team") != nil { services.authenticator.forgetAll() }
    return Reply.created(json(stored), at: "\(base)/\(stored.name)", warnings: warnings)
      .at(revision: stored.revision)
  }

  @Sendable private static func update(_ call: Call, _ services: Services) async throws -> Reply {
    let body = call.body
    let stored = try await services.store.updateRuleSet(named: try call.parameter("name"), try call.edit()) { draft in
      try draft.content.apply(checked: body)
      if let description = body["description"]?.string { draft.description = description }
      try draft.content.check()
    }
    return Reply.data(json(stored), warnings: try stored.content.checked()).at(revision: stored.revision)
  }
}

extension Call {
  /// Who edits, why, and on what: `If-Match` holds the revision's number as `ETag` gave it.
  func edit() throws -> RuleSetEdit {
    let caller = try caller()
    return RuleSetEdit(
      author: caller.author, reason: query["reason"]?.string, expectedRevision: try expectedRevision(),
      limits: caller.permissions.ruleLimits(on: things))
  }

  /// Nil: whatever is there. 0, which no revision has, for a tag that isn't of a rule set.
  func expectedRevision() throws -> UInt64? {
    switch try IfMatch(headers[.ifMatch]) {
    case .any: return nil
    case .oneOf(let tags):
      guard tags.count == 1 else {
        throw APIError(.invalidRequest, "If-Match holds one revision, as ETag gave it: If-Match: \"7\"")
      }
      return UInt64(tags[0]) ?? 0
    }
  }
}
