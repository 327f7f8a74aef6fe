import ControlProtocol
import Foundation
import Hummingbird
import Rules
import Storage

/// From a revision to the packets.
enum ApplyRoutes {
  static let all: [Route] = [
    Route(
      .post, RuleSetRoutes.base + "/{name}/apply", "applyRuleSet", tag: "rule sets",
      "Publish a revision on attachments: the named ones, or all that have this rule set. "
        + "A refused one changes nothing.",
      access: .scope(.rulesApply), on: .ruleSet("name"),
      body: .named(
        "Apply",
        .object([
          .optional("revision", .nullable(.integer(1...Int64.max)), "The newest where absent"),
          .optional("attachments", .nullable(.array(.text(max: 36), max: 256, min: 1)), "Ids"),
          .optional("dry_run", .boolean, default: false, "Check on the daemons, publish nothing"),
          .optional(
            "confirm_within_seconds", .nullable(.integer(5...86_400)),
            "Unless it is confirmed in time, the daemons go back by themselves, also without the API"),
          .optional("force", .boolean, default: false, "Even if it would drop the connection that asks for it"),
        ])), bodyIsOptional: true, answer: .data(outcome), errors: [.conflict] + NodeRoutes.daemonErrors, handler: apply
    )
  ]

  private static let outcome = Schema.named(
    "ApplyOutcome",
    .object([
      .required("rule_set", .string()), .required("revision", .count), .required("dry_run", .boolean),
      .required(
        "results",
        .array(
          .object([
            .required("node", .string()), .required("interface", .string()), .required("generation", .count),
            .required("entries", .count), .required("self_test_packets", .count), .required("apply_seconds", .number),
            .required("in_place", .boolean, "The live tables were changed; else the rule set was compiled anew"),
          ]), max: Int.max)),
      .required("warnings", .array(.string(), max: Int.max)),
      .required("confirm_by", .nullable(.timestamp), "null: it stands"),
      .optional("analysis", AnalysisRoutes.analysis, "Of a dry run"),
    ]))

  /// One apply at a time reaches a node, from all copies of the API: what its daemon runs and what is recorded of it are
  /// the same revision, and the newest is what is newest then.
  @Sendable private static func apply(_ call: Call, _ services: Services) async throws -> Reply {
    let name = try call.parameter("name")
    async let found = content(name, call.body.present("revision")?.integer, services)
    async let wanted = targets(name, call, services)
    // Who names what is not there is told so before anything else.
    _ = try await found
    let targets = try await wanted
    let isDryRun = call.body["dry_run"]?.bool ?? false
    let nodes = isDryRun ? [] : Set(targets.map(\.node)).sorted()
    return try await holding(nodes[...], services) {
      // What was found before the wait may be another rule set's by now, or nobody's.
      let current = isDryRun ? targets : try await self.targets(name, call, services)
      guard Set(current.map(\.node)).isSubset(of: Set(targets.map(\.node))) else {
        throw APIError(.conflict, "an attachment on another node got this rule set meanwhile: apply it again")
      }
      return try await publish(call, current, services, isDryRun: isDryRun)
    }
  }

  /// In the order of their names, so that two who want several wait for each other in one direction.
  static func holding(
    _ nodes: ArraySlice<String>, _ services: Services, _ body: () async throws -> Reply
  ) async throws -> Reply {
    guard let first = nodes.first else { return try await body() }
    return try await services.store.exclusively(on: first) {
      try await holding(nodes.dropFirst(), services, body)
    }
  }

  private static func publish(
    _ call: Call, _ targets: [Attachment], _ services: Services, isDryRun: Bool
  ) async throws -> Reply {
    let name = try call.parameter("name")
    let byNode = Dictionary(grouping: targets, by: \.node).sorted { $0.key < $1.key }
    let seconds = UInt32(clamping: call.body.present("confirm_within_seconds")?.integer ?? 0)
    let isChange = byNode.count == 1 && !isDryRun && seconds == 0
    // Together: each is a trip to the database.
    async let wanted = content(name, call.body.present("revision")?.integer, services)
    async let running = isChange ? base(of: targets, name, services) : nil
    async let addressed = addressed(byNode, services)
    async let needsApproval = isDryRun ? false : services.store.requiresApproval(ruleSet: name)
    let content = try await wanted
    if try await needsApproval { try await ApprovalRoutes.checkApproved(content, services) }
    var confirmBy: [UInt64] = []
    var warnings = try lockOut(call, content, targets.map(\.place), mayRefuse: !isDryRun && seconds == 0)
    let nodes = try await addressed
    if nodes.count > 1, !isDryRun {
      // One daemon publishes all or nothing; several agree first.
      for (node, targets) in nodes {
        _ = try await services.nodes.apply(node, interfaces: targets.map(\.interface), content, isDryRun: true)
      }
    }
    var results: [JSONValue] = []
    for (node, targets) in nodes {
      do {
        let interfaces = targets.map(\.interface)
        let response =
          if let base = await running,
            let response = try await change(targets, from: base, to: content, on: node, services)
          {
            response
          } else {
            try await services.nodes.apply(
              node, interfaces: interfaces, content, isDryRun: isDryRun, confirmWithinSeconds: seconds)
          }
        if response.confirmByUnixNanos > 0 { confirmBy.append(response.confirmByUnixNanos) }
        results += response.results.map { $0.json(node: node.name) }
        warnings += response.warnings
        // What is on trial is wanted only once it is confirmed.
        if !isDryRun, seconds == 0 { try await record(targets, content, services) }
      } catch let error as NodeCallError where !results.isEmpty {
        throw partly(error.apiError, applied: results)
      }
    }
    var outcome: [String: JSONValue] = [
      "rule_set": .string(content.name), "revision": .count(content.revision), "dry_run": .bool(isDryRun),
      "results": .array(results), "warnings": .strings(warnings),
      "confirm_by": confirmBy.min().map { .time(unixNanoseconds: $0) } ?? .null,
    ]
    if isDryRun { outcome["analysis"] = try await AnalysisRoutes.analyse(content, services).json }
    return .data(.object(outcome))
  }

  private static func addressed(
    _ byNode: [(key: String, value: [Attachment])], _ services: Services
  ) async throws -> [(node: Node, targets: [Attachment])] {
    var nodes: [(Node, [Attachment])] = []
    for (name, targets) in byNode { nodes.append((try await services.store.node(named: name), targets)) }
    return nodes
  }

  /// What all targets run, where that is one revision of this rule set.
  private static func base(of targets: [Attachment], _ ruleSet: String, _ services: Services) async -> RuleSet? {
    guard let number = targets.first?.appliedRevision,
      targets.allSatisfy({ $0.ruleSet == ruleSet && $0.appliedRevision == number })
    else { return nil }
    return try? await services.store.ruleSetRevision(named: ruleSet, number: number).content
  }

  /// Where the targets run a revision that differs by one rule, the daemon is told of that rule.
  ///
  /// - Returns: nil: the whole is to be applied.
  private static func change(
    _ targets: [Attachment], from base: RuleSet, to content: RuleSet, on node: Node, _ services: Services
  ) async throws -> Sluice_Control_V1_ApplyResponse? {
    guard base.revision != content.revision, let change = content.ruleChange(from: base) else { return nil }
    return try await services.nodes.changeRule(
      node, interfaces: targets.map(\.interface), change, of: content, fromRevision: base.revision)
  }

  /// A commit that undoes itself may try; any other that would drop the caller's own connection is refused unless forced.
  static func lockOut(
    _ call: Call, _ content: RuleSet, _ places: [OwnConnection.Place], mayRefuse: Bool
  ) throws -> [String] {
    guard let connection = call.connection() else { return [] }
    let live = content.expiring(atUnixMilliseconds: .now).left
    for place in Set(places).sorted(by: { $0.interface < $1.interface }) {
      guard let rule = connection.lost(by: live, at: place) else { continue }
      let message = "on \(place.interface) \(rule) would take your own connection away, from \(connection.remote) to "
        + "\(connection.local) port \(connection.localPort)"
      guard mayRefuse, call.body["force"]?.bool != true else { return [message] }
      throw APIError(
        .conflict, "\(message): apply it with confirm_within_seconds, or with force if you come in another way",
        details: ["reason": "own_connection", "interface": .string(place.interface), "rule": .string(rule)])
    }
    return []
  }

  private static func content(_ name: String, _ revision: Int64?, _ services: Services) async throws -> RuleSet {
    if let revision {
      return try await services.store.ruleSetRevision(named: name, number: UInt64(revision)).content
    }
    return try await services.store.ruleSet(named: name).content
  }

  private static func targets(_ name: String, _ call: Call, _ services: Services) async throws -> [Attachment] {
    guard let ids = call.body.present("attachments")?.array else {
      let all = try await everything { try await services.store.attachments(AttachmentFilter(ruleSet: name), $0) }
      guard !all.isEmpty else {
        throw APIError(
          .conflict, "no attachment has this rule set: name attachments, or set rule_set on one",
          details: ["reason": "no_attachments"])
      }
      return all
    }
    guard !ids.isEmpty else { throw APIError.validation("attachments", "too_few", "must not be empty") }
    var targets: [Attachment] = []
    for (index, text) in ids.enumerated() {
      guard let id = text.string.flatMap(UUID.init(uuidString:)) else {
        throw APIError.validation("attachments[\(index)]", "invalid", "is not an id")
      }
      guard !targets.contains(where: { $0.id == id }) else { continue }
      do {
        let target = try await services.store.attachment(id: id)
        // Whoever gave an attachment this rule set wants its revisions; another rule set is a change of the attachment.
        if target.ruleSet != name, try !call.caller().permissions.grants(.rulesApply) {
          try await services.authorizer.require(.attachmentsWrite, .attachment, text.string ?? "", call)
        }
        targets.append(target)
      } catch StorageError.notFound {
        throw APIError.validation("attachments[\(index)]", "not_found", "there is no such attachment")
      }
    }
    return targets
  }

  private static func record(_ targets: [Attachment], _ content: RuleSet, _ services: Services) async throws {
    for target in targets {
      _ = try await services.store.recordApplied(
        attachmentID: target.id, ruleSet: content.name, revision: content.revision)
    }
  }

  static func partly(_ error: APIError, applied: [JSONValue]) -> APIError {
    var error = error
    error.message = "done on some nodes only; then: \(error.message)"
    error.details = ["applied": .array(applied), "cause": error.details ?? .null]
    return error
  }
}

extension Sluice_Control_V1_ApplyResponse.Result {
  fileprivate func json(node: String) -> JSONValue {
    [
      "node": .string(node), "interface": .string(interface), "generation": .count(generation),
      "entries": .count(entries), "self_test_packets": .count(selfTestPackets), "apply_seconds": .number(applySeconds),
      "in_place": .bool(inPlace),
    ]
  }
}
