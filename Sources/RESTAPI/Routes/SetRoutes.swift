import ControlProtocol
import Hummingbird
import NIOCore
import Rules
import Storage

/// The sets of a rule set, one by one. Every change makes a revision.
enum SetRoutes {
  private static let base = RuleSetRoutes.base + "/{name}/sets"
  private static let editErrors: [ErrorCode] = [.conflict, .staleRevision]
  private static let liveErrors = editErrors + NodeRoutes.daemonErrors
  private static let own = RouteSubject.set(ruleSet: "name", set: "set")

  static let all: [Route] = [
    Route(
      .get, base, "listSets", tag: "sets", "The sets of the newest revision, without their elements.",
      access: .scope(.rulesRead), on: .setsOf("name"), answer: .page(RuleShapes.setSummary, by: .parts)
    ) { call, services in
      if let reply = try await call.pageOfOwnSets(services) { return reply }
      let (content, revision) = try await call.walked(services)
      return try call.page(of: content.sets.count, at: revision, by: .parts) { content.sets[$0].name } _: {
        content.sets[$0].summary
      }
    },
    Route(
      .post, base, "createSet", tag: "sets", "Add a set.", access: .scope(.rulesWrite), on: .ruleSet("name"),
      query: [RuleSetRoutes.reason], body: RuleShapes.set, bodyBytesMax: APILimits.ruleSetBodyBytesMax,
      answer: .created(RuleShapes.setSummary), errors: editErrors, handler: create),
    Route(
      .get, base + "/{set}", "getSet", tag: "sets", "One set, without its elements.", access: .scope(.rulesRead),
      on: own, answer: .data(RuleShapes.setSummary)
    ) { call, services in
      let stored = try await services.store.ruleSet(named: try call.parameter("name"))
      return Reply.data(try stored.content.set(named: try call.parameter("set")).summary).at(revision: stored.revision)
    },
    Route(
      .patch, base + "/{set}", "updateSet", tag: "sets", "Change what a set says beside its elements.",
      access: .scope(.rulesWrite), on: .ruleSet("name"), query: [RuleSetRoutes.reason], body: RuleShapes.setPatch,
      answer: .data(RuleShapes.setSummary), errors: editErrors
    ) { call, services in
      let name = try call.parameter("set")
      let stored = try await services.store.edit(call) { content in
        let index = try content.index(ofSet: name)
        if let comment = call.body["comment"]?.string { content.sets[index].comment = comment }
        if let hasCounters = call.body["counters"]?.bool { content.sets[index].hasCounters = hasCounters }
      }
      return Reply.data(try stored.content.set(named: name).summary).at(revision: stored.revision)
    },
    Route(
      .delete, base + "/{set}", "deleteSet", tag: "sets", "Remove a set that no match names.",
      access: .scope(.rulesWrite), on: .ruleSet("name"), query: [RuleSetRoutes.reason],
      answer: .data(.object([.required("deleted", .boolean)])), errors: editErrors
    ) { call, services in
      let name = try call.parameter("set")
      let stored = try await services.store.edit(call) { content in
        content.sets.remove(at: try content.index(ofSet: name))
      }
      return Reply.data(["deleted": true]).at(revision: stored.revision)
    },
    Route(
      .get, base + "/{set}/elements", "listElements", tag: "sets",
      "The elements of a set, in order of their numbers, without those that have ended. As text/plain all of them, one in a "
        + "line.",
      access: .scope(.rulesRead), on: own, answer: .page(.string(), by: .elements)
    ) { call, services in
      let stored = try await services.store.ruleSet(named: try call.parameter("name"))
      var set = try stored.content.set(named: try call.parameter("set"))
      set.removeEnded(atUnixMilliseconds: .now)
      if wantsLines(call) { return Reply(lines(of: set)).at(revision: stored.revision) }
      let page = call.page
      let first = min(try call.position.map { try set.index(behind: $0) } ?? page.offset, set.count)
      let end = min(first + page.limit, set.count)
      let part = Paged(
        items: set.texts(first..<end), total: set.count,
        next: end < set.count ? set.members(first..<end).last.map { [.string($0.element.text)] } : nil)
      return Reply.page(part, page) { .string($0) }.at(revision: stored.revision)
    }.givingLines(),
    Route(
      .post, base + "/{set}/elements", "addElements", tag: "sets",
      "Add elements. What is there already stays, and ends when it is said here, or never; where nothing is new, no revision "
        + "is made.",
      access: .scope(.rulesWrite), on: own, query: [RuleSetRoutes.reason, apply], body: elements,
      bodyBytesMax: APILimits.ruleSetBodyBytesMax, answer: .data(changed), errors: liveErrors
    ) { call, services in
      try await change(call, services) { set, members in set.insert(members) }
    },
    Route(
      .put, base + "/{set}/elements", "replaceElements", tag: "sets",
      "Replace all elements; those of a text/plain body are read line by line, while it comes.",
      access: .scope(.rulesWrite), on: own, query: [RuleSetRoutes.reason, apply], body: elements,
      bodyBytesMax: APILimits.ruleSetBodyBytesMax, answer: .data(changed), errors: liveErrors
    ) { call, services in
      try await change(call, services) { set, members in
        let hasCounters = set.hasCounters
        set = NamedSet(name: set.name, kind: set.kind, comment: set.comment)
        set.hasCounters = hasCounters
        set.insert(members)
      }
    }.takingLines(),
    Route(
      .post, base + "/{set}/elements/remove", "removeElements", tag: "sets",
      "Remove elements, each as it stands in the set. What isn't there is no fault.", access: .scope(.rulesWrite),
      on: own,
      query: [RuleSetRoutes.reason, apply], body: elements, bodyBytesMax: APILimits.ruleSetBodyBytesMax,
      answer: .data(changed), errors: liveErrors
    ) { call, services in
      try await change(call, services) { set, members in set.remove(members.map(\.element)) }
    },
  ]

  private static let elements = Schema.named(
    "SetElements",
    .strictObject(
      [
        .required(
          "elements", .array(RuleShapes.element, max: Limits.setElementsMax),
          "192.0.2.0/24, 2001:db8::1, 8000-8080; 192.0.2.1 timeout 12h; 192.0.2.1 expires 2026-11-21T15:38:47Z")
      ] + RuleShapes.endFields))
  private static let changed = Schema.named(
    "ChangedSet",
    .object([
      .required("changed", .count, "Elements that came or went"), .required("element_count", .count),
      .optional("applied", SetApplication.results, "Where it is live, with ?apply=true"),
    ]))
  private static let apply = Field.optional(
    "apply", .boolean, default: false,
    "Also change it in what the attachments run, which must be the revision before; needs rules:apply")

  /// Rather than a page.
  private static func wantsLines(_ call: Call) -> Bool {
    call.headers[.accept]?.lowercased().split(separator: ",").first?.hasPrefix(LineBody.contentType) ?? false
  }

  private static let elementsPerPiece = 4096

  private static func lines(of set: NamedSet) -> Reply.Content {
    .bytes(contentType: LineBody.contentType) { writer in
      for start in stride(from: 0, to: set.count, by: elementsPerPiece) {
        let part = set.texts(start..<min(start + elementsPerPiece, set.count)).joined(separator: "\n")
        try await writer.write(ByteBuffer(string: part + "\n"))
      }
    }
  }

  @Sendable private static func create(_ call: Call, _ services: Services) async throws -> Reply {
    let set = try NamedSet(checked: call.body, path: "")
    let stored = try await services.store.edit(call) { content in
      guard !content.sets.contains(where: { $0.name == set.name }) else {
        throw APIError(
          .conflict, "the rule set has a set \(set.name) already",
          details: [["path": "name", "code": "duplicate", "message": "is taken"]])
      }
      content.sets.append(set)
    }
    return Reply.created(set.summary, at: "\(RuleSetRoutes.base)/\(stored.name)/sets/\(set.name)", warnings: [])
      .at(revision: stored.revision)
  }

  private static func change(
    _ call: Call, _ services: Services, _ body: @escaping @Sendable (inout NamedSet, [SetMember]) -> Void
  ) async throws -> Reply {
    let name = try call.parameter("set")
    let isApplied = call.query["apply"]?.bool == true
    if isApplied { try services.authorizer.require(.rulesApply, again: call) }
    let kind = try await services.store.ruleSet(named: try call.parameter("name")).content.set(named: name).kind
    // Read here, outside of the transaction.
    let now = Int64.now
    let read =
      if let lines = call.lines { try await lines.members(of: kind) } else {
        try NamedSet(name: name, kind: kind).members(checked: call.body, path: "")
      }
    let members = read.fixed(atUnixMilliseconds: now)
    let change = SetApplication.Change()
    let stored = try await services.store.edit(call) { content in
      let index = try content.index(ofSet: name)
      guard content.sets[index].kind == kind else { throw APIError(.conflict, "the set \(name) has another type now") }
      // What has ended goes with the next change, as it went in the daemons by itself.
      var old = content.sets[index]
      old.removeEnded(atUnixMilliseconds: now)
      var new = old
      body(&new, members)
      let made = new.difference(from: old)
      if !made.inserted.isEmpty || !made.removed.isEmpty { content.sets[index] = new }
      change.elements.withLock { $0 = made }
    }
    let (inserted, removed) = change.elements.withLock { $0 }
    var data: [String: JSONValue] = [
      "changed": .count(inserted.count + removed.count),
      "element_count": .count(try stored.content.set(named: name).count),
    ]
    if isApplied, inserted.isEmpty, removed.isEmpty {
      try await SetApplication.check(stored.content, services)
      data["applied"] = []
    } else if isApplied {
      data["applied"] = try await SetApplication.make(change, of: name, stored.content, call, services)
    }
    return Reply.data(.object(data)).at(revision: stored.revision)
  }
}

/// The chains of a rule set, one by one. Every change makes a revision.
enum ChainRoutes {
  private static let base = RuleSetRoutes.base + "/{name}/chains"
  private static let editErrors: [ErrorCode] = [.conflict, .staleRevision]

  static let all: [Route] = [
    Route(
      .get, base, "listChains", tag: "chains", "The chains of the newest revision, with their rules.",
      access: .scope(.rulesRead), on: .ruleSet("name"), answer: .page(RuleShapes.placedChain, by: .parts)
    ) { call, services in
      let (content, revision) = try await call.walked(services)
      return try call.page(of: content.chains.count, at: revision, by: .parts) { content.chains[$0].name } _: {
        content.chains[$0].json
      }
    },
    Route(
      .put, base + "/{chain}", "replaceChain", tag: "chains", "Replace the rules of a chain, or make it.",
      access: .scope(.rulesWrite), on: .ruleSet("name"), query: [RuleSetRoutes.reason],
      body: .named(
        "ChainContent",
        .strictObject([
          .optional("comment", .text(max: Limits.commentByteCountMax), default: ""),
          .required("rules", RuleShapes.rules),
        ])), bodyBytesMax: APILimits.ruleSetBodyBytesMax, answer: .data(RuleShapes.placedChain), errors: editErrors
    ) { call, services in
      let name = try call.parameter("chain")
      guard isValidName(name) else { throw APIError.notFound("chain", name) }
      var members = call.body.object ?? [:]
      members["name"] = .string(name)
      let chain = try Chain(checked: .object(members), path: "")
      let stored = try await services.store.edit(call) { content in
        if let index = content.chains.firstIndex(where: { $0.name == name }) {
          content.chains[index] = chain
        } else {
          content.chains.append(chain)
        }
      }
      return Reply.data(chain.json).at(revision: stored.revision)
    },
    Route(
      .delete, base + "/{chain}", "deleteChain", tag: "chains", "Remove a chain that no rule leads to.",
      access: .scope(.rulesWrite), on: .ruleSet("name"), query: [RuleSetRoutes.reason],
      answer: .data(.object([.required("deleted", .boolean)])), errors: editErrors
    ) { call, services in
      let name = try call.parameter("chain")
      let stored = try await services.store.edit(call) { content in
        guard let index = content.chains.firstIndex(where: { $0.name == name }) else {
          throw APIError.notFound("chain", name)
        }
        content.chains.remove(at: index)
      }
      return Reply.data(["deleted": true]).at(revision: stored.revision)
    },
  ]
}

extension Store {
  /// Edits the newest revision of the rule set that the path names, checks the result, writes the next one.
  fileprivate func edit(
    _ call: Call, _ change: @escaping @Sendable (inout RuleSet) throws -> Void
  ) async throws -> StoredRuleSet {
    try await updateRuleSet(named: try call.parameter("name"), try call.edit()) { draft in
      try change(&draft.content)
      try draft.content.check()
    }
  }
}

extension RuleSet {
  /// Or that there is none.
  func set(named name: String) throws -> NamedSet { sets[try index(ofSet: name)] }

  fileprivate func index(ofSet name: String) throws -> Int {
    guard let index = sets.firstIndex(where: { $0.name == name }) else { throw APIError.notFound("set", name) }
    return index
  }
}
