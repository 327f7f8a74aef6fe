import ControlProtocol
import Rules
import Storage
import Synchronization

/// A change of a set that goes to the daemons as such: they change what is live, and compile nothing anew where the set is large.
enum SetApplication {
  /// What came and what went. Written in the transaction that makes the revision.
  final class Change: Sendable {
    let elements = Mutex<(inserted: [SetMember], removed: [SetElement])>(([], []))
  }

  static let results = Schema.array(
    .object([
      .required("node", .string()), .required("interface", .string()), .required("generation", .count),
      .required("changed", .count), .required("element_count", .count),
      .required("in_place", .boolean, "The live tables were changed; else the rule set was compiled anew"),
      .required(
        "confirm_by", .nullable(.timestamp), "Until when the rule set must be confirmed, or the change goes with it; null: it stands"),
      .required("seconds", .number),
    ]), max: Int.max)

  /// Tells every attachment that has the rule set. Where one runs another revision than the one before, nothing changes there
  /// and the newest is to be applied.
  static func make(
    _ change: Change, of set: String, _ content: RuleSet, _ call: Call, _ services: Services
  ) async throws -> JSONValue {
    try await ApprovalRoutes.check(content, services)
    let all = try await attachments(content, services)
    _ = try ApplyRoutes.lockOut(call, content, all.map(\.place), mayRefuse: true)
    let (inserted, removed) = change.elements.withLock { ($0.inserted.map(\.text), $0.removed.map(\.text)) }
    var results: [JSONValue] = []
    for (name, targets) in Dictionary(grouping: all, by: \.node).sorted(by: { $0.key < $1.key }) {
      let node = try await services.store.node(named: name)
      do {
        results += try await services.store.exclusively(on: name) {
          let response = try await services.nodes.changeSet(
            node, interfaces: targets.map(\.interface), set, of: content, inserted: inserted, removed: removed)
          // What is on trial is wanted only once it is confirmed.
          let standing = Set(response.results.filter { $0.confirmByUnixNanos == 0 }.map(\.interface))
          for target in targets where standing.contains(target.interface) {
            _ = try await services.store.recordApplied(
              attachmentID: target.id, ruleSet: content.name, revision: content.revision)
          }
          return response.results.map { $0.json(node: name) }
        }
      } catch let error as NodeCallError where !results.isEmpty {
        throw ApplyRoutes.partly(error.apiError, applied: results)
      }
    }
    return .array(results)
  }

  /// Of a change that changes nothing, made earlier and perhaps never live: whether every attachment runs the newest revision.
  static func check(_ content: RuleSet, _ services: Services) async throws {
    for (name, targets) in Dictionary(grouping: try await attachments(content, services), by: \.node) {
      let observed = try await services.nodes.status(try await services.store.node(named: name)).attachments
      let runsIt = { (target: Attachment) in
        observed.contains {
          $0.interface == target.interface && $0.ruleSet == content.name && $0.revision == content.revision
        }
      }
      guard let behind = targets.first(where: { !runsIt($0) }) else { continue }
      throw APIError(
        .conflict,
        "the set is so already, but revision \(content.revision) is not live on \(behind.interface) of \(name): apply it",
        details: ["reason": "not_live"])
    }
  }

  private static func attachments(_ content: RuleSet, _ services: Services) async throws -> [Attachment] {
    let all = try await everything { try await services.store.attachments(AttachmentFilter(ruleSet: content.name), $0) }
    guard !all.isEmpty else {
      throw APIError(
        .conflict, "no attachment has this rule set: revision \(content.revision) is live nowhere",
        details: ["reason": "no_attachments"])
    }
    return all
  }
}

extension Sluice_Control_V1_ChangeSetResponse.Result {
  fileprivate func json(node: String) -> JSONValue {
    [
      "node": .string(node), "interface": .string(interface), "generation": .count(generation),
      "changed": .count(changed), "element_count": .count(elements), "in_place": .bool(inPlace),
      "confirm_by": confirmByUnixNanos == 0 ? .null : .time(unixNanoseconds: confirmByUnixNanos), "seconds": .number(seconds),
    ]
  }
}
