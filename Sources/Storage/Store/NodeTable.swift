import Foundation
import Identity

/// The rows of nodes.
enum NodeTable {
  static let columns = "id, name, address, description, created_at, updated_at"

  static func read(_ row: inout RowReader) throws(StorageError) -> Node {
    Node(
      id: try row.uuid(), name: try row.text(), address: try row.text(), description: try row.text(),
      createdAt: try row.date(), updatedAt: try row.date())
  }

  static let byName = "SELECT \(columns) FROM nodes WHERE name = $1"

  static func find(_ name: String, _ session: any SQLSession) throws(StorageError) -> Node {
    let node = try session.first(byName, [.text(name)], read)
    guard let node else { throw .notFound(kind: "node", key: name) }
    return node
  }

  /// Until the transaction ends, nobody else changes the node.
  static func lock(_ name: String, _ session: any SQLSession) throws(StorageError) -> Node {
    try session.lockLater("nodes", where: "name = $1", [.text(name)])
    return try find(name, session)
  }

  static func insert(_ new: NewNode, at: Date, _ session: any SQLSession) throws(StorageError) -> Node {
    try session.execute(
      "INSERT INTO nodes (\(columns)) VALUES ($1, $2, $3, $4, $5, $5)",
      [SQLValue(UUID()), .text(new.name), .text(new.address), .text(new.description), SQLValue(at)])
    return try find(new.name, session)
  }
}

extension ListOrder {
  public static let nodes = ListOrder(
    "name", key: .text("name"), fields: [.text("name"), .text("address"), .integer("created_at"), .integer("updated_at")])
}

extension SQLStore {
  func createNode(_ node: NewNode) async throws -> Node {
    let at = timestamp
    return try await change { session, trail in
      let made = try NodeTable.insert(node, at: at, session)
      trail.created("node", made.audited)
      return made
    }
  }

  func node(named name: String) async throws -> Node {
    let node = try await reads.first(NodeTable.byName, [.text(name)], NodeTable.read)
    guard let node else { throw StorageError.notFound(kind: "node", key: name) }
    return node
  }

  func exclusively<T: Sendable>(on node: String, _ body: () async throws -> T) async throws -> T {
    try await database.holding("node \(node)", body)
  }

  func nodes(among ids: Set<UUID>?, _ page: Page) async throws -> Paged<Node> {
    var conditions = Conditions()
    if let ids { conditions.add("id", among: ids) }
    return try await database.read { [conditions] session in
      try session.page(select: NodeTable.columns, from: "nodes", conditions, order: .nodes, page, NodeTable.read)
    }
  }

  func updateNode(named name: String, _ change: NodeChange, if check: @escaping Check<Node>) async throws -> Node {
    let at = timestamp
    return try await self.change { session, trail in
      let old = try NodeTable.lock(name, session)
      try check(old)
      let updated = try session.update(
        "nodes",
        set: """
          name = COALESCE($2, name), address = COALESCE($3, address), description = COALESCE($4, description),
            updated_at = $5
          """,
        where: "id = $1",
        [
          SQLValue(old.id), SQLValue(change.name), SQLValue(change.address), SQLValue(change.description), SQLValue(at),
        ], returning: NodeTable.columns, NodeTable.read)
      guard let updated else { throw StorageError.notFound(kind: "node", key: name) }
      // Captures outlive nodes, and so have a name instead of a reference.
      if updated.name != old.name {
        try session.execute("UPDATE captures SET node = $2 WHERE node = $1", [.text(old.name), .text(updated.name)])
      }
      trail.changed("node", from: old.audited, to: updated.audited)
      return updated
    }
  }

  func deleteNode(named name: String, if check: @escaping Check<Node>) async throws {
    try await change { session, trail in
      let old = try NodeTable.lock(name, session)
      try check(old)
      do throws(StorageError) {
        try session.execute("DELETE FROM nodes WHERE name = $1", [.text(name)])
      } catch { throw error.naming(kind: "node", by: "attachments") }
      try ResourceTable.forget(ResourceRef(.node, old.id), session)
      trail.deleted("node", old.audited)
    }
  }
}

extension StorageError {
  /// A violated reference, which the databases report without names, in the caller's words.
  func naming(kind: String, by: String) -> StorageError {
    if case .inUse = self { .inUse(kind: kind, by: by) } else { self }
  }
}
