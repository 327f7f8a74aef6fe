import Foundation

/// The rows of events.
public enum EventTable {
  /// Events kept.
  public static let eventsMax = 10_000

  static let columns =
    "e.id, n.name, e.epoch, e.sequence, e.kind, e.interface, e.message, e.fields, e.happened_at"
  static let source = "events e LEFT JOIN nodes n ON n.id = e.node_id"

  static func read(_ row: inout RowReader) throws(StorageError) -> NodeEvent {
    NodeEvent(
      id: UInt64(clamping: try row.integer()), node: try row.textOrNil(),
      event: NewNodeEvent(
        position: EventPosition(
          epoch: UInt64(clamping: try row.integer()), sequence: UInt64(clamping: try row.integer())),
        kind: try row.text(), interface: try row.text(), message: try row.text(), fields: try row.json(),
        happenedAt: try row.date()))
  }

  static func conditions(_ filter: EventFilter) -> Conditions {
    var conditions = Conditions()
    if let after = filter.after { conditions.add("e.id > $?", .integer(Int64(clamping: after))) }
    if !filter.kinds.isEmpty { conditions.addAny([("e.kind", filter.kinds.sorted().map { .text($0) })]) }
    if let node = filter.node { conditions.add("n.name = $?", .text(node)) }
    if let interface = filter.interface { conditions.add("e.interface = $?", .text(interface)) }
    if let ruleSet = filter.ruleSet { conditions.add("e.rule_set = $?", .text(ruleSet)) }
    var subjects: [SQLValue] = filter.among == nil ? [.text("node")] : []
    if filter.credentials.accounts { subjects.append(.text(CredentialEvent.Subject.account.rawValue)) }
    if filter.credentials.clients { subjects.append(.text(CredentialEvent.Subject.client.rawValue)) }
    conditions.addAny([
      ("e.subject", subjects), ("e.account_id", filter.credentials.ownAccount.map { [SQLValue($0)] } ?? []),
      ("n.name", (filter.among?.nodes ?? []).sorted().map { .text($0) }),
      ("n.name || '/' || e.interface", (filter.among?.interfaces ?? []).sorted().map { .text($0) }),
      ("e.rule_set", (filter.among?.ruleSets ?? []).sorted().map { .text($0) }),
    ])
    return conditions
  }

  /// Numbers for so many events, of which the last is returned. Until the transaction ends, nobody else gives numbers.
  static func numbers(_ count: Int, _ session: any SQLSession) throws(StorageError) -> Int64 {
    let last = try session.update(
      "guards", set: "version = version + $1", where: "name = $2", [SQLValue(count), .text(EventSchema.guardName)],
      returning: "version"
    ) { row throws(StorageError) in try row.integer() }
    guard let last else { throw .corrupt("the events have no guard") }
    return last
  }

  /// What the API itself has to tell; the position is the time and the number, which no other event of its has.
  static func append(_ events: [CredentialEvent], at: Date, _ session: any SQLSession) throws {
    guard !events.isEmpty else { return }
    let last = try numbers(events.count, session)
    var rows: [[SQLValue]] = []
    for (index, event) in events.enumerated() {
      let id = last - Int64(events.count - 1 - index)
      rows.append([
        .integer(id), SQLValue(at), .integer(id), .text(event.kind), .text(""), .text(event.message),
        try .json(event.fields), SQLValue(at), .text(event.subject.rawValue), SQLValue(event.accountID),
      ])
    }
    try session.insert(
      into: "events",
      ["id", "epoch", "sequence", "kind", "interface", "message", "fields", "happened_at", "subject", "account_id"], rows)
    try removeOldest(newest: last, session)
  }

  static func removeOldest(newest: Int64, _ session: any SQLSession) throws(StorageError) {
    try session.execute("DELETE FROM events WHERE id <= $1", [.integer(newest - Int64(eventsMax))])
  }

  /// Those that the table has not, and never had.
  static func fresh(
    _ events: [NewNodeEvent], behind position: EventPosition?, _ node: SQLValue, _ session: any SQLSession
  ) throws(StorageError) -> [NewNodeEvent] {
    var fresh: [NewNodeEvent] = []
    for (epoch, events) in Dictionary(grouping: events, by: \.position.epoch).sorted(by: { $0.key < $1.key }) {
      let sequences = events.map(\.position.sequence)
      let known = Set(
        try session.all(
          "SELECT sequence FROM events WHERE node_id = $1 AND epoch = $2 AND sequence >= $3 AND sequence <= $4",
          [
            node, .integer(Int64(clamping: epoch)), .integer(Int64(clamping: sequences.min() ?? 0)),
            .integer(Int64(clamping: sequences.max() ?? 0)),
          ]
        ) { row throws(StorageError) in UInt64(clamping: try row.integer()) })
      // What was stored once may have gone since: it doesn't come back.
      let floor = position?.epoch == epoch ? position?.sequence ?? 0 : 0
      var seen = known
      for event in events where event.position.sequence > floor {
        if seen.insert(event.position.sequence).inserted { fresh.append(event) }
      }
    }
    return fresh
  }

  static func position(_ node: SQLValue, _ session: any SQLSession) throws(StorageError) -> EventPosition? {
    try session.first("SELECT epoch, sequence FROM event_positions WHERE node_id = $1", [node], readPosition)
  }

  static func readPosition(_ row: inout RowReader) throws(StorageError) -> EventPosition {
    EventPosition(epoch: UInt64(clamping: try row.integer()), sequence: UInt64(clamping: try row.integer()))
  }
}

extension ListOrder {
  public static let events = ListOrder(
    "-id", key: .integer("id", "e.id"), fields: [.integer("id", "e.id"), .integer("at", "e.happened_at")])
}

extension SQLStore {
  @discardableResult
  func recordEvents(_ events: [NewNodeEvent], ofNode id: UUID) async throws -> Int {
    guard let last = events.last?.position else { return 0 }
    return try await bookkeep(
      "what daemons report; who made it happen is recorded where he asked for it",
      wakes: { $0 > 0 ? [.events] : [] }
    ) { session in
      let node = SQLValue(id)
      // How many are fresh is known behind the lock only.
      let head = try EventTable.numbers(0, session)
      guard try session.count("SELECT COUNT(*) FROM nodes WHERE id = $1", [node]) > 0 else {
        throw StorageError.notFound(kind: "node", key: node.plainText)
      }
      let before = try EventTable.position(node, session)
      let fresh = try EventTable.fresh(events, behind: before, node, session)
      let columns = [
        "id", "node_id", "epoch", "sequence", "kind", "interface", "rule_set", "message", "fields", "happened_at",
      ]
      try session.insert(
        into: "events", columns,
        try fresh.enumerated().map { index, event in
          [
            .integer(head + Int64(index) + 1), node, .integer(Int64(clamping: event.position.epoch)),
            .integer(Int64(clamping: event.position.sequence)), .text(event.kind), .text(event.interface),
            SQLValue(event.fields["rule_set"].flatMap { $0.isEmpty ? nil : $0 }), .text(event.message),
            try .json(event.fields), SQLValue(event.happenedAt),
          ]
        })
      let newest = head + Int64(fresh.count)
      try session.execute(
        "UPDATE guards SET version = $2 WHERE name = $1", [.text(EventSchema.guardName), .integer(newest)])
      try EventTable.removeOldest(newest: newest, session)
      // Another copy of the API may be further.
      let sequence = before?.epoch == last.epoch ? max(last.sequence, before?.sequence ?? 0) : last.sequence
      try session.upsert(
        into: "event_positions", ["node_id", "epoch", "sequence"],
        [node, .integer(Int64(clamping: last.epoch)), .integer(Int64(clamping: sequence))], key: ["node_id"])
      return fresh.count
    }
  }

  func eventPosition(ofNode id: UUID) async throws -> EventPosition? {
    try await reads.first(
      "SELECT epoch, sequence FROM event_positions WHERE node_id = $1", [SQLValue(id)], EventTable.readPosition)
  }

  func events(_ filter: EventFilter, _ page: Page) async throws -> Paged<NodeEvent> {
    try await database.read { session in
      try session.page(
        select: EventTable.columns, from: EventTable.source, EventTable.conditions(filter),
        order: filter.isAscending ? .events.by("id") : .events, page, EventTable.read)
    }
  }

  func eventRange() async throws -> ClosedRange<UInt64>? {
    let bounds = try await reads.first("SELECT MIN(id), MAX(id) FROM events", []) { row throws(StorageError) in
      (first: try row.integerOrNil(), last: try row.integerOrNil())
    }
    guard let first = bounds?.first, let last = bounds?.last else { return nil }
    return UInt64(clamping: first)...UInt64(clamping: last)
  }
}
