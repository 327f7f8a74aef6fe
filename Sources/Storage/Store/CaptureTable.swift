import Foundation

/// The rows of the capture history. What was asked and what came of it are documents: nothing searches in them.
enum CaptureTable {
  static let columns =
    "id, node, interface, daemon_id, request, progress, started_by_id, started_by_email, started_at, finished_at"

  /// Of one.
  static let selection = "SELECT \(columns) FROM captures WHERE id = $1"

  static func read(_ row: inout RowReader) throws(StorageError) -> CaptureRecord {
    CaptureRecord(
      id: try row.uuid(), node: try row.text(), interface: try row.text(), daemonID: try row.text(),
      request: try row.json(), progress: try row.json(),
      startedBy: Author(userID: try row.uuidOrNil(), email: try row.text()), startedAt: try row.date(),
      finishedAt: try row.dateOrNil())
  }
}

extension ListOrder {
  public static let captures = ListOrder(
    "-started_at", key: .text("id"),
    fields: [
      .integer("started_at"), .integer("finished_at", "COALESCE(finished_at, -1)"), .text("node"), .text("interface"),
      .text("state"),
    ])
}

extension SQLStore {
  func createCapture(_ capture: NewCapture) async throws -> CaptureRecord {
    let record = CaptureRecord(
      id: UUID(), node: capture.node, interface: capture.interface, daemonID: capture.daemonID,
      request: capture.request, progress: capture.progress, startedBy: capture.startedBy,
      startedAt: capture.startedAt.wholeMilliseconds, finishedAt: nil)
    try await change { session, trail in
      try session.execute(
        """
        INSERT INTO captures (\(CaptureTable.columns), state)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, $10)
        """,
        [
          SQLValue(record.id), .text(record.node), .text(record.interface), .text(record.daemonID),
          try .json(record.request), try .json(record.progress), SQLValue(record.startedBy.userID),
          .text(record.startedBy.email), SQLValue(record.startedAt), .text(record.progress.state.rawValue),
        ])
      trail.created("capture", try record.audited())
    }
    return record
  }

  func capture(id: UUID) async throws -> CaptureRecord {
    let record = try await reads.first(CaptureTable.selection, [SQLValue(id)], CaptureTable.read)
    guard let record else { throw StorageError.notFound(kind: "capture", key: SQLValue(id).plainText) }
    return record
  }

  func captures(_ filter: CaptureFilter, _ page: Page) async throws -> Paged<CaptureRecord> {
    var conditions = Conditions()
    if let node = filter.node { conditions.add("node = $?", .text(node)) }
    if let interface = filter.interface { conditions.add("interface = $?", .text(interface)) }
    if let state = filter.state { conditions.add("state = $?", .text(state.rawValue)) }
    if let among = filter.among {
      conditions.addAny([
        ("node", among.nodes.sorted().map { .text($0) }),
        ("node || '/' || interface", among.interfaces.sorted().map { .text($0) }),
      ])
    }
    return try await database.read { [conditions] session in
      try session.page(
        select: CaptureTable.columns, from: "captures", conditions, order: .captures, page,
        CaptureTable.read)
    }
  }

  func updateCapture(id: UUID, _ progress: CaptureProgress, finishedAt: Date?) async throws -> CaptureRecord {
    try await bookkeep("what the daemon reports; who starts and stops a capture is recorded") { session in
      let record = try session.update(
        "captures", set: "progress = $2, state = $3, finished_at = COALESCE(finished_at, $4)",
        where: "id = $1 AND state = 'running'",
        [SQLValue(id), try .json(progress), .text(progress.state.rawValue), SQLValue(finishedAt)],
        returning: CaptureTable.columns, CaptureTable.read)
      // What has ended stays as it ended: somebody else was told later, and wrote earlier.
      if let record { return record }
      let ended = try session.first(CaptureTable.selection, [SQLValue(id)], CaptureTable.read)
      guard let ended else { throw StorageError.notFound(kind: "capture", key: SQLValue(id).plainText) }
      return ended
    }
  }
}
