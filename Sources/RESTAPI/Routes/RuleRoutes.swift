import ControlProtocol
import Hummingbird
import Rules
import Storage

/// The ordered rules of a rule set. Every change makes a revision.
enum RuleRoutes {
  private static let base = RuleSetRoutes.base + "/{name}/rules"
  private static let editErrors: [ErrorCode] = [.conflict, .staleRevision]

  static let all: [Route] = [
    Route(
      .get, base, "listRules", tag: "rules", "The rules of the newest revision, in order.", access: .scope(.rulesRead), on: .ruleSet("name"),
      answer: .page(RuleShapes.placedRule, by: .rules)
    ) { call, services in
      let (content, revision) = try await call.walked(services)
      return try call.page(of: content.rules.count, at: revision, by: .rules) { content.rules[$0].name } _: {
        content.rules[$0].json(position: $0)
      }
    },
    Route(
      .post, base, "addRule", tag: "rules", "Add a rule, at the end unless said otherwise.",
      access: .scope(.rulesWrite), on: .ruleSet("name"), query: [RuleSetRoutes.reason],
      body: .named("NewRule", .strictObject(RuleShapes.ruleFields(nameIsRequired: true) + placement)),
      answer: .created(RuleShapes.placedRule), errors: editErrors, handler: add),
    Route(
      .put, base, "replaceRules", tag: "rules", "Replace the whole list.", access: .scope(.rulesWrite), on: .ruleSet("name"),
      query: [RuleSetRoutes.reason],
      body: .named("RuleList", .object([.required("rules", RuleShapes.rules)])),
      answer: .data(.array(RuleShapes.placedRule, max: Int.max)), errors: editErrors, handler: replaceAll),
    Route(
      .get, base + "/{rule}", "getRule", tag: "rules", "One rule.", access: .scope(.rulesRead), on: .ruleSet("name"),
      answer: .data(RuleShapes.placedRule)
    ) { call, services in
      let stored = try await services.store.ruleSet(named: try call.parameter("name"))
      return try placed(try call.parameter("rule"), in: stored)
    },
    Route(
      .put, base + "/{rule}", "replaceRule", tag: "rules",
      "Replace a rule in its place. Another name makes it another rule, with counters of its own.",
      access: .scope(.rulesWrite), on: .ruleSet("name"), query: [RuleSetRoutes.reason],
      body: .named("RuleReplacement", .strictObject(RuleShapes.ruleFields(nameIsRequired: false))),
      answer: .data(RuleShapes.placedRule), errors: editErrors, handler: replace),
    Route(
      .delete, base + "/{rule}", "deleteRule", tag: "rules", "Remove a rule.", access: .scope(.rulesWrite), on: .ruleSet("name"),
      query: [RuleSetRoutes.reason], answer: .data(.object([.required("deleted", .boolean)])), errors: editErrors
    ) { call, services in
      let name = try call.parameter("rule")
      let stored = try await edit(call, services) { content throws(RuleEditError) in
        try content.removeRule(name)
      }
      return Reply.data(["deleted": true]).at(revision: stored.revision)
    },
    Route(
      .post, base + "/{rule}/move", "moveRule", tag: "rules", "Move a rule.", access: .scope(.rulesWrite), on: .ruleSet("name"),
      query: [RuleSetRoutes.reason], body: .named("Move", .strictObject(placement)),
      answer: .data(RuleShapes.placedRule), errors: editErrors, handler: move),
  ]

  private static let placement: [Field] = [
    .optional("position", .integer(0...Int64(Limits.rulesMax)), "Index in the list afterwards, from 0"),
    .optional("before", Shapes.name, "Name of a rule"), .optional("after", Shapes.name, "Name of a rule"),
  ]

  /// Nil where the body says nothing about the place.
  private static func placement(in body: JSONValue) throws -> RulePlacement? {
    let given = placement.map(\.name).filter { body[$0] != nil }
    guard given.count <= 1 else {
      throw APIError.validation(given[1], "contradiction", "only one of position, before and after")
    }
    if let position = body["position"]?.integer { return .at(Int(position)) }
    if let name = body["before"]?.string { return .before(name) }
    if let name = body["after"]?.string { return .after(name) }
    return nil
  }

  @Sendable private static func add(_ call: Call, _ services: Services) async throws -> Reply {
    let rule = try Rule(checked: call.body)
    try check(rule)
    let placement = try placement(in: call.body) ?? .last
    let stored = try await edit(call, services) { content throws(RuleEditError) in
      try content.insert(rule, placement)
    }
    var reply = try placed(rule.name, in: stored)
    reply.status = .created
    reply.headers[.location] = "\(RuleSetRoutes.base)/\(stored.name)/rules/\(rule.name)"
    return reply
  }

  @Sendable private static func replaceAll(_ call: Call, _ services: Services) async throws -> Reply {
    let body = call.body
    let stored = try await services.store.updateRuleSet(named: try call.parameter("name"), try call.edit()) { draft in
      try draft.content.apply(checked: body.only("rules"))
      try draft.content.check()
    }
    return Reply.data(.array(stored.content.placedRules), warnings: try stored.content.checked())
      .at(revision: stored.revision)
  }

  @Sendable private static func replace(_ call: Call, _ services: Services) async throws -> Reply {
    let name = try call.parameter("rule")
    let rule = try Rule(checked: call.body, name: name)
    try check(rule)
    let stored = try await edit(call, services) { content throws(RuleEditError) in
      try content.replaceRule(name, with: rule)
    }
    return try placed(rule.name, in: stored)
  }

  @Sendable private static func move(_ call: Call, _ services: Services) async throws -> Reply {
    let name = try call.parameter("rule")
    guard let placement = try placement(in: call.body) else {
      throw APIError.validation("position", "required", "one of position, before and after is required")
    }
    let stored = try await edit(call, services) { content throws(RuleEditError) in
      try content.moveRule(name, placement)
    }
    return try placed(name, in: stored)
  }

  /// One rule by itself, so that paths are those of the body.
  private static func check(_ rule: Rule) throws {
    let problems = rule.validate().filter { $0.severity == .error }
    guard problems.isEmpty else {
      throw APIError.validation(problems.map { Problem(path: $0.path, code: $0.code.rawValue, message: $0.message) })
    }
  }

  /// Edits the newest revision, checks the result, writes the next one.
  private static func edit(
    _ call: Call, _ services: Services, _ change: @escaping @Sendable (inout RuleSet) throws(RuleEditError) -> Void
  ) async throws -> StoredRuleSet {
    let subject = call.path["rule"]
    let place = call.body["after"] == nil ? "before" : "after"
    return try await services.store.updateRuleSet(named: try call.parameter("name"), try call.edit()) { draft in
      do throws(RuleEditError) { try change(&draft.content) } catch { throw apiError(error, subject: subject, place: place) }
      try services.validRuleSets.check(draft.content)
    }
  }

  /// - Parameter subject: the rule that the path names; another missing one stands in the body.
  private static func apiError(_ error: RuleEditError, subject: String?, place: String) -> APIError {
    switch error {
    case .noSuchRule(let name) where name == subject: .notFound("rule", name)
    case .noSuchRule: .validation(place, "unknown_rule", error.description)
    case .duplicateName:
      APIError(.conflict, error.description, details: [["path": "name", "code": "duplicate", "message": "is taken"]])
    case .positionOutOfRange: .validation("position", "out_of_range", error.description)
    case .tooManyRules: .validation("", "too_many", error.description)
    case .relativeToItself: .validation(place, "invalid", error.description)
    }
  }

  private static func placed(_ name: String, in stored: StoredRuleSet) throws -> Reply {
    guard let index = stored.content.index(ofRule: name) else { throw APIError.notFound("rule", name) }
    let warnings = stored.content.warnings(ofRuleAt: index).map(\.description)
    return Reply.data(stored.content.rules[index].json(position: index), warnings: warnings)
      .at(revision: stored.revision)
  }
}

extension JSONValue {
  /// An object of one of this one's members.
  fileprivate func only(_ name: String) -> JSONValue { self[name].map { .object([name: $0]) } ?? .object([:]) }
}
