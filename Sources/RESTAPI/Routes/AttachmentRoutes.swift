import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Rules
import Storage

/// Attachments: what is wanted (the database) and what is (the daemon), side by side.
enum AttachmentRoutes {
  static let base = RouteTable.base + "/attachments"

  static let all: [Route] = [
    Route(
      .get, base, "listAttachments", tag: "attachments", "All attachments, by node and interface.",
      access: .scope(.attachmentsRead), on: .anything,
      query: [
        .optional("node", Shapes.name), .optional("interface", Shapes.interface), .optional("rule_set", Shapes.name),
      ], answer: .page(attachment, by: .attachments), handler: list),
    Route(
      .post, base, "createAttachment", tag: "attachments",
      "Attach to an interface, and apply the rule set where one is named. Refused by the daemon: nothing is stored.",
      access: .scope(.attachmentsWrite), on: .interfaceInBody, body: newAttachment, answer: .created(attachment),
      errors: [.conflict, .notFound] + NodeRoutes.daemonErrors, handler: create),
    Route(
      .get, base + "/{id}", "getAttachment", tag: "attachments", "One attachment.", access: .scope(.attachmentsRead), on: .attachment("id"),
      answer: .data(attachment)
    ) { call, services in
      let stored = try await services.store.attachment(id: try call.identifier("id", of: "attachment"))
      return Reply.data(try await observed([stored], services)[0]).tagged(content(stored))
    },
    Route(
      .patch, base + "/{id}", "updateAttachment", tag: "attachments",
      "Change the rule set, on the daemon first; with null every packet passes. Other options need that as well, or a "
        + "new attachment: no daemon changes them while rules decide. An attachment that the daemon has lost is made "
        + "again, with the revision that was applied.",
      access: .scope(.attachmentsWrite), on: .attachment("id"), body: .named("AttachmentPatch", .object(options(isPatch: true))),
      answer: .data(attachment), errors: [.conflict, .preconditionFailed] + NodeRoutes.daemonErrors, handler: update),
    Route(
      .delete, base + "/{id}", "deleteAttachment", tag: "attachments", "Detach.", access: .scope(.attachmentsWrite), on: .attachment("id"),
      query: [.optional("force", .boolean, default: false)],
      answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.preconditionFailed] + NodeRoutes.daemonErrors, handler: delete),
  ]

  // MARK: Shapes

  private static func options(isPatch: Bool) -> [Field] {
    func option(_ name: String, _ words: [String]) -> Field {
      .optional(name, .words(words), default: isPatch ? nil : .string(words[0]))
    }
    return [
      .optional("rule_set", .nullable(Shapes.name)), option("mode", AttachmentMode.allCases.map(\.rawValue)),
      option("zero_copy", ZeroCopyMode.allCases.map(\.rawValue)),
      option("coexistence", CoexistenceMode.allCases.map(\.rawValue)),
      option("capture_fallback", Fate.allCases.map(\.rawValue)),
      .optional("keep_on_exit", .boolean, default: isPatch ? nil : false),
      .optional(
        "force", .boolean, default: isPatch ? nil : false, "Even if the rule set would drop the connection that asks for it"
      ),
    ]
  }

  private static let newAttachment = Schema.named(
    "NewAttachment",
    .object(
      [.optional("node", Shapes.name, default: "local"), .required("interface", Shapes.interface)]
        + options(isPatch: false)))

  private static let attachment = Schema.named(
    "Attachment",
    .object([
      .required("id", Shapes.uuid), .required("node", .string()), .required("interface", .string()),
      .required("rule_set", .nullable(.string())), .required("applied_revision", .nullable(.count)),
      .required("applied_at", .nullable(.timestamp)),
      .required("mode", .words(AttachmentMode.allCases.map(\.rawValue))),
      .required("zero_copy", .words(ZeroCopyMode.allCases.map(\.rawValue))),
      .required("coexistence", .words(CoexistenceMode.allCases.map(\.rawValue))),
      .required("capture_fallback", Shapes.fate), .required("keep_on_exit", .boolean),
      .required("created_at", .timestamp), .required("updated_at", .timestamp),
      .required("observed", .nullable(Sluice_Control_V1_Attachment.schema), "What the daemon reports now"),
      .required("observed_error", .nullable(.string()), "Why that is not known"),
      .required("in_sync", .nullable(.boolean), "Whether observed is what is wanted; null where that is not known"),
    ]))

  // MARK: Observation

  /// The stored attachments with what their daemons say. An unreachable daemon shows in the answer, it doesn't fail it.
  private static func observed(_ attachments: [Attachment], _ services: Services) async throws -> [JSONValue] {
    var reports: [String: Result<[String: Sluice_Control_V1_Attachment], any Error>] = [:]
    await withTaskGroup(of: (String, Result<[String: Sluice_Control_V1_Attachment], any Error>).self) { group in
      for name in Set(attachments.map(\.node)) {
        group.addTask { (name, await report(of: name, services)) }
      }
      for await (name, report) in group { reports[name] = report }
    }
    return attachments.map { attachment in
      switch reports[attachment.node] {
      case .success(let observed): json(attachment, observed[attachment.interface], error: nil)
      case .failure(let error):
        json(attachment, nil, error: ErrorMapping.apiError(for: error)?.message ?? "the node cannot be asked")
      case nil: json(attachment, nil, error: "the node was not asked")
      }
    }
  }

  private static func report(
    of name: String, _ services: Services
  ) async -> Result<[String: Sluice_Control_V1_Attachment], any Error> {
    do {
      let node = try await services.store.node(named: name)
      let attachments = try await services.nodes.status(node).attachments
      return .success(Dictionary(attachments.map { ($0.interface, $0) }, uniquingKeysWith: { first, _ in first }))
    } catch { return .failure(error) }
  }

  private static func json(
    _ wanted: Attachment, _ observed: Sluice_Control_V1_Attachment?, error: String?
  ) -> JSONValue {
    [
      "id": .string(wanted.id.uuidString.lowercased()), "node": .string(wanted.node),
      "interface": .string(wanted.interface), "rule_set": .optional(wanted.ruleSet),
      "applied_revision": wanted.appliedRevision.map { .count($0) } ?? .null, "applied_at": .time(wanted.appliedAt),
      "mode": .string(wanted.options.mode.rawValue), "zero_copy": .string(wanted.options.zeroCopy.rawValue),
      "coexistence": .string(wanted.options.coexistence.rawValue),
      "capture_fallback": .string(wanted.options.captureFallback.rawValue),
      "keep_on_exit": .bool(wanted.options.keepOnExit), "created_at": .time(wanted.createdAt),
      "updated_at": .time(wanted.updatedAt), "observed": observed?.json ?? .null, "observed_error": .optional(error),
      "in_sync": error == nil ? .bool(isInSync(wanted, observed)) : .null,
    ]
  }

  /// What can be edited, for the entity tag; also what is applied, which an editor wants to have seen.
  @Sendable private static func content(_ wanted: Attachment) -> JSONValue {
    [
      "rule_set": .optional(wanted.ruleSet), "applied_revision": wanted.appliedRevision.map { .count($0) } ?? .null,
      "mode": .string(wanted.options.mode.rawValue), "zero_copy": .string(wanted.options.zeroCopy.rawValue),
      "coexistence": .string(wanted.options.coexistence.rawValue),
      "capture_fallback": .string(wanted.options.captureFallback.rawValue),
      "keep_on_exit": .bool(wanted.options.keepOnExit),
    ]
  }

  private static func isInSync(_ wanted: Attachment, _ observed: Sluice_Control_V1_Attachment?) -> Bool {
    guard let observed, observed.options.json == Sluice_Control_V1_AttachOptions(wanted.options).json else {
      return false
    }
    return observed.ruleSet == wanted.ruleSet ?? ""
      && (wanted.ruleSet == nil || observed.revision == wanted.appliedRevision)
  }

  // MARK: Handlers

  @Sendable private static func list(_ call: Call, _ services: Services) async throws -> Reply {
    var filter = AttachmentFilter(
      node: call.query["node"]?.string, interface: call.query["interface"]?.string,
      ruleSet: call.query["rule_set"]?.string)
    filter.among = try visible(.attachmentsRead, call)
    let page = call.page
    let stored = try await services.store.attachments(filter, page)
    return Reply(.page(try await observed(stored.items, services), PageInfo(page, stored)))
  }

  /// The attachments for which the scope is held, by themselves or with their nodes; nil: all.
  static func visible(_ scope: Scope, _ call: Call) throws -> AttachmentFilter.Places? {
    guard let attachments = try call.visible(.attachment, with: scope) else { return nil }
    return .init(attachments: attachments, nodes: try call.visible(.node, with: scope) ?? [])
  }

  /// The interfaces of a node whose counters the caller may see; nil: all.
  static func visibleInterfaces(
    of node: Node, _ call: Call, _ services: Services
  ) async throws -> Set<String>? {
    guard let places = try visible(.countersRead, call), !places.nodes.contains(node.id) else { return nil }
    var filter = AttachmentFilter(node: node.name)
    filter.among = places
    return Set(try await everything { try await services.store.attachments(filter, $0) }.map(\.interface))
  }

  private static func options(_ body: JSONValue, over before: AttachmentOptions) -> AttachmentOptions {
    var options = before
    if let mode = body["mode"]?.string.flatMap(AttachmentMode.init) { options.mode = mode }
    if let zeroCopy = body["zero_copy"]?.string.flatMap(ZeroCopyMode.init) { options.zeroCopy = zeroCopy }
    if let mode = body["coexistence"]?.string.flatMap(CoexistenceMode.init) { options.coexistence = mode }
    if let fate = body["capture_fallback"]?.string.flatMap(Fate.init) { options.captureFallback = fate }
    if let keep = body["keep_on_exit"]?.bool { options.keepOnExit = keep }
    return options
  }

  /// One at a time reaches a node, as in ``ApplyRoutes``.
  @Sendable private static func create(_ call: Call, _ services: Services) async throws -> Reply {
    let node = try await services.store.node(named: try call.body.text("node"))
    return try await services.store.exclusively(on: node.name) { try await create(on: node, call, services) }
  }

  private static func create(on node: Node, _ call: Call, _ services: Services) async throws -> Reply {
    let interface = try call.body.text("interface")
    let ruleSetName = call.body.present("rule_set")?.string
    if let ruleSetName { try await requireUse(of: ruleSetName, call, services) }
    let ruleSet: StoredRuleSet? =
      if let ruleSetName {
        try await services.store.ruleSet(named: ruleSetName)
      } else { nil }
    let wanted = options(call.body, over: AttachmentOptions())
    if let ruleSet {
      try await check(
        ruleSet.content, at: .init(interface: interface, captureFallback: wanted.captureFallback), call, services)
    }
    let existing = try await services.store.attachments(
      AttachmentFilter(node: node.name, interface: interface), Page(limit: 1))
    guard existing.total == 0 else { throw StorageError.conflict(field: "interface") }
    let wasAttached = try await services.nodes.status(node).attachments.contains { $0.interface == interface }
    _ = try await services.nodes.attach(node, interface: interface, wanted)
    var stored: Attachment
    do {
      if let ruleSet { _ = try await services.nodes.apply(node, interfaces: [interface], ruleSet.content) }
      stored = try await services.store.createAttachment(
        NewAttachment(node: node.name, interface: interface, ruleSet: ruleSet?.name, options: wanted))
    } catch StorageError.conflict(let field) {
      // Another request was faster with the same interface: what is attached is its own now.
      throw StorageError.conflict(field: field)
    } catch {
      // Whoever attached it before wants it attached still.
      if !wasAttached { await undoAttach(node, interface, call, services) }
      throw error
    }
    if let ruleSet {
      stored = try await services.store.recordApplied(
        attachmentID: stored.id, ruleSet: ruleSet.name, revision: ruleSet.revision)
    }
    return Reply.created(
      try await observed([stored], services)[0], at: "\(base)/\(stored.id.uuidString.lowercased())"
    ).tagged(content(stored))
  }

  /// What may keep a rule set from deciding on an interface.
  private static func check(
    _ content: RuleSet, at place: OwnConnection.Place, _ call: Call, _ services: Services
  ) async throws {
    try await ApprovalRoutes.check(content, services)
    _ = try ApplyRoutes.lockOut(call, content, [place], mayRefuse: true)
  }

  /// Whoever may attach everywhere may attach every rule set; others those that they may apply.
  private static func requireUse(of ruleSet: String, _ call: Call, _ services: Services) async throws {
    guard try !call.caller().permissions.grants(.attachmentsWrite) else { return }
    try await services.authorizer.require(.rulesApply, .ruleSet, ruleSet, call)
  }

  private static func undoAttach(_ node: Node, _ interface: String, _ call: Call, _ services: Services) async {
    do throws(NodeCallError) { try await services.nodes.detach(node, interface: interface) } catch {
      services.logger.error(
        "an attachment was refused half-way and could not be taken back",
        metadata: ["request_id": "\(call.requestID)", "interface": "\(interface)", "error": "\(error)"])
    }
  }

  @Sendable private static func update(_ call: Call, _ services: Services) async throws -> Reply {
    let stored = try await services.store.attachment(id: try call.identifier("id", of: "attachment"))
    return try await services.store.exclusively(on: stored.node) { try await update(stored.id, call, services) }
  }

  private static func update(_ id: UUID, _ call: Call, _ services: Services) async throws -> Reply {
    let before = try await services.store.attachment(id: id)
    let check = try call.precondition(content)
    // Before the daemon is told anything; and again where it is written, once it has done what it was told.
    try check(before)
    let node = try await services.store.node(named: before.node)
    let wanted = options(call.body, over: before.options)
    let ruleSetMember = call.body["rule_set"]
    if let name = ruleSetMember?.string { try await requireUse(of: name, call, services) }
    var stored = before
    if ruleSetMember == .null, before.ruleSet != nil {
      try await attachAnew(node, before, wanted, services)
      stored = try await services.store.updateAttachment(
        id: id, AttachmentChange(ruleSet: .some(nil), options: wanted), if: check)
    } else {
      let ruleSet: StoredRuleSet? =
        if let name = ruleSetMember?.string {
          try await services.store.ruleSet(named: name)
        } else { nil }
      if let ruleSet {
        try await self.check(
          ruleSet.content, at: .init(interface: before.interface, captureFallback: wanted.captureFallback), call, services)
      }
      let isAttached = try await services.nodes.status(node).attachments.contains { $0.interface == before.interface }
      if wanted != before.options || !isAttached {
        _ = try await services.nodes.attach(node, interface: before.interface, wanted)
      }
      if wanted != before.options {
        stored = try await services.store.updateAttachment(id: id, AttachmentChange(options: wanted), if: check)
      }
      if let ruleSet {
        _ = try await services.nodes.apply(node, interfaces: [before.interface], ruleSet.content)
        stored = try await services.store.recordApplied(
          attachmentID: id, ruleSet: ruleSet.name, revision: ruleSet.revision)
      } else if !isAttached {
        try await applyAgain(node, before, services)
      }
    }
    return Reply.data(try await observed([stored], services)[0]).tagged(content(stored))
  }

  /// Without rules, by way of no attachment: every packet passes in both. Refused options leave what was.
  private static func attachAnew(
    _ node: Node, _ before: Attachment, _ wanted: AttachmentOptions, _ services: Services
  ) async throws {
    try await detachIfAttached(node, before.interface, services)
    do throws(NodeCallError) {
      _ = try await services.nodes.attach(node, interface: before.interface, wanted)
    } catch {
      _ = try await services.nodes.attach(node, interface: before.interface, before.options)
      try await applyAgain(node, before, services)
      throw error
    }
  }

  /// The revision that was applied, for a daemon that doesn't have it any more.
  private static func applyAgain(_ node: Node, _ attachment: Attachment, _ services: Services) async throws {
    guard let name = attachment.ruleSet, let revision = attachment.appliedRevision else { return }
    let content = try await services.store.ruleSetRevision(named: name, number: revision).content
    _ = try await services.nodes.apply(node, interfaces: [attachment.interface], content)
  }

  private static func detachIfAttached(_ node: Node, _ interface: String, _ services: Services) async throws {
    do throws(NodeCallError) { try await services.nodes.detach(node, interface: interface) } catch {
      guard error.isNotFound else { throw error }
    }
  }

  @Sendable private static func delete(_ call: Call, _ services: Services) async throws -> Reply {
    let stored = try await services.store.attachment(id: try call.identifier("id", of: "attachment"))
    return try await services.store.exclusively(on: stored.node) { try await delete(stored.id, call, services) }
  }

  private static func delete(_ id: UUID, _ call: Call, _ services: Services) async throws -> Reply {
    let stored = try await services.store.attachment(id: id)
    let check = try call.precondition(content)
    // Before it is detached, and again where it is removed.
    try check(stored)
    let node = try await services.store.node(named: stored.node)
    var warnings: [String] = []
    do { try await detachIfAttached(node, stored.interface, services) } catch let error as NodeCallError {
      guard call.query["force"]?.bool == true else { throw error }
      warnings.append("not detached: \(error.apiError.message)")
    }
    try await services.store.deleteAttachment(id: id, if: check)
    return .data(["deleted": true], warnings: warnings)
  }
}
