import ControlProtocol
import Rules

/// What rules do to each other.
enum AnalysisRoutes {
  static let all: [Route] = [
    Route(
      .get, RuleSetRoutes.base + "/{name}/analysis", "analyseRuleSet", tag: "rule sets",
      "Rules of the newest revision that do nothing, or nothing of their own: shadowed, never hit, redundant and "
        + "contradictory ones, each with the rules that say why and a packet.",
      access: .scope(.rulesRead), on: .ruleSet("name"), answer: .data(analysis)
    ) { call, services in
      .data(try await analyse(try await services.store.ruleSet(named: try call.parameter("name")).content, services).json)
    },
    Route(
      .post, RouteTable.base + "/rules/check", "checkRules", tag: "rule sets",
      "Check a rule set without storing it: what makes it invalid is an error, as where it would be stored; else what is "
        + "doubtful, and what its rules do to each other.",
      access: .scope(.rulesWrite), on: .anything, body: RuleSetRoutes.newRuleSet,
      bodyBytesMax: APILimits.ruleSetBodyBytesMax,
      answer: .data(
        .object([
          .required("rules", .count), .required("complete", .boolean), .required("undecided", .count),
          .required("findings", findings),
          .required("warnings", .array(.string(), max: Int.max)),
        ]))
    ) { call, services in
      var content = RuleSet(name: try call.body.text("name"))
      try content.apply(checked: call.body)
      let warnings = try content.checked()
      var members = try await analyse(content, services).json.object ?? [:]
      members["warnings"] = .strings(warnings)
      return .data(.object(members))
    },
  ]

  /// Steps for one request: about a second; enough for a few thousand rules.
  private static let stepsMax = 4_000_000

  static func analyse(_ content: RuleSet, _ services: Services) async throws -> RuleSetAnalysis {
    try await services.analyses.run { content.analysis(budget: stepsMax, atUnixMilliseconds: .now) }
  }

  private static let findings = Schema.array(
    .named(
      "RuleFinding",
      .object([
        .required("kind", .words(RuleFinding.Kind.allCases.map(\.rawValue))), .required("rule", .string()),
        .required("chain", .nullable(.string()), "Whose rule it is; null: of the rule set's own list"),
        .required("position", .count, "From 0, in that list"),
        .required("by", .array(.string(), max: Int.max), "Rules that match the same; \"default\" is the default action"),
        .required("packet", .nullable(RuleShapes.match), "A packet that the rule and one of those match"),
        .required("message", .string()),
      ])), max: Int.max)

  static let analysis = Schema.named(
    "RuleAnalysis",
    .object([
      .required("rules", .count, "Enabled ones"),
      .required("complete", .boolean, "False: of some rules it was too much work to tell, or not all findings are here"),
      .required("undecided", .count, "Rules of which it was too much work to tell"),
      .required("findings", findings),
    ]))
}
