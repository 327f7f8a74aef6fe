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
      access: .scope(.rulesApply),
      body: .named(
        "Apply",
        .object([
          .optional("revision", .nullable(.integer(1...Int64.max)), "The newest where absent"),
          .optional("attachments", .nullable(.array(.text(max: 36), max: 256, min: 1)), "Ids"),
          .optional("dry_run", .boolean, default: false, "Check on the daemons, publish nothing"),
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
          ]), max: Int.max)),
      .required("warnings", .array(.string(), max: Int.max)),
      .optional("analysis", AnalysisRoutes.analysis, "Of a dry run"),
    ]))

  @Sendable private static func apply(_ call: Call, _ services: Services) async throws -> Reply {
    let name = try call.parameter("name")
    let content = try await content(name, call.body.present("revision")?.integer, services)
    let targets = try await targets(name, call, services)
    let isDryRun = call.body["dry_run"]?.bool ?? false
    let byNode = Dictionary(grouping: targets, by: \.node).sorted { $0.key < $1.key }
    var nodes: [(node: Node, targets: [Attachment])] = []
    for (name, targets) in byNode { nodes.append((try await services.store.node(named: name), targets)) }
    if nodes.count > 1, !isDryRun {
      // One daemon publishes all or nothing; several agree first.
      for (node, targets) in nodes {
        _ = try await services.nodes.apply(node, interfaces: targets.map(\.interface), content, isDryRun: true)
      }
    }
    var results: [JSONValue] = []
    var warnings: [String] = []
    for (node, targets) in nodes {
      do {
        let response = try await services.nodes.apply(
          node, interfaces: targets.map(\.interface), content, isDryRun: isDryRun)
        results += response.results.map { $0.json(node: node.name) }
        warnings += response.warnings
        if !isDryRun { try await record(targets, content, services) }
      } catch let error as NodeCallError where !results.isEmpty {
        throw partly(error.apiError, applied: results)
      }
    }
    var outcome: [String: JSONValue] = [
      "rule_set": .string(content.name), "revision": .count(content.revision), "dry_run": .bool(isDryRun),
      "results": .array(results), "warnings": .strings(warnings),
    ]
    if isDryRun { outcome["analysis"] = await AnalysisRoutes.analyse(content).json }
    return .data(.object(outcome))
  }

  private static func content(_ name: String, _ revision: Int64?, _ services: Services) async throws -> RuleSet {
    if let revision {
      return try await services.store.ruleSetRevision(named: name, number: UInt64(revision)).content
    }
    return try await services.store.ruleSet(named: name).content
  }

  private static func targets(_ name: String, _ call: Call, _ services: Services) async throws -> [Attachment] {
    guard let ids = call.body.present("attachments")?.array else {
      let all = try await services.store.attachments(AttachmentFilter(ruleSet: name), Page(limit: Page.limitMax))
      guard !all.items.isEmpty else {
        throw APIError(
          .conflict, "no attachment has this rule set: name attachments, or set rule_set on one",
          details: ["reason": "no_attachments"])
      }
      return all.items
    }
    guard !ids.isEmpty else { throw APIError.validation("attachments", "too_few", "must not be empty") }
    var targets: [Attachment] = []
    for (index, text) in ids.enumerated() {
      guard let id = text.string.flatMap(UUID.init(uuidString:)) else {
        throw APIError.validation("attachments[\(index)]", "invalid", "is not an id")
      }
      guard !targets.contains(where: { $0.id == id }) else { continue }
      do { targets.append(try await services.store.attachment(id: id)) } catch StorageError.notFound {
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

  private static func partly(_ error: APIError, applied: [JSONValue]) -> APIError {
    var error = error
    error.message = "applied on some nodes only; then: \(error.message)"
    error.details = ["applied": .array(applied), "cause": error.details ?? .null]
    return error
  }
}

extension Sluice_Control_V1_ApplyResponse.Result {
  fileprivate func json(node: String) -> JSONValue {
    [
      "node": .string(node), "interface": .string(interface), "generation": .count(generation),
      "entries": .count(entries), "self_test_packets": .count(selfTestPackets), "apply_seconds": .number(applySeconds),
    ]
  }
}
