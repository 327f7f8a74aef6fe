import Foundation

/// Keys of POST requests that must not happen twice. Only digests and sealed answers get here.
extension SQLStore {
  func claimIdempotencyKey(owner: String, digest: String, request: String) async throws -> IdempotencyClaim {
    let at = timestamp
    return try await bookkeep("what is done under the key is recorded itself") { session in
      let isMine = try session.insertNew(
        into: "idempotency_keys", ["owner", "digest", "request", "created_at"],
        [.text(owner), .text(digest), .text(request), SQLValue(at)], key: ["owner", "digest"])
      guard !isMine else { return .claimed }
      let found = try session.first(
        "SELECT request, finished_at, answer FROM idempotency_keys WHERE owner = $1 AND digest = $2",
        [.text(owner), .text(digest)]
      ) { row throws(StorageError) -> IdempotencyClaim in
        guard try row.text() == request else { return .otherRequest }
        return try row.dateOrNil() == nil ? .running : .finished(answer: try row.textOrNil())
      }
      // Released between the two statements.
      return found ?? .running
    }
  }

  func finishIdempotencyKey(owner: String, digest: String, answer: String?) async throws {
    let at = timestamp
    _ = try await bookkeep("a key is no state of the control plane") { session in
      try session.execute(
        "UPDATE idempotency_keys SET finished_at = $3, answer = $4 WHERE owner = $1 AND digest = $2",
        [.text(owner), .text(digest), SQLValue(at), SQLValue(answer)])
    }
  }

  func releaseIdempotencyKey(owner: String, digest: String) async throws {
    _ = try await bookkeep("a key is no state of the control plane") { session in
      try session.execute(
        "DELETE FROM idempotency_keys WHERE owner = $1 AND digest = $2 AND finished_at IS NULL",
        [.text(owner), .text(digest)])
    }
  }

  func purgeIdempotencyKeys(before: Date) async throws -> Int {
    try await bookkeep("a key is no state of the control plane") { session in
      try session.execute("DELETE FROM idempotency_keys WHERE created_at < $1", [SQLValue(before)])
    }
  }
}
