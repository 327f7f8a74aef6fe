import DatabaseSupport
import Foundation
import Testing

@testable import Storage

@Suite("Idempotency keys and conditions")
struct IdempotencyTests {
  @Test("Of many who claim a key at once, one gets it", arguments: TestBackend.allCases)
  func oneClaims(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let claims = try await withThrowingTaskGroup(of: IdempotencyClaim.self) { group in
        for _ in 0..<16 {
          group.addTask { try await store.claimIdempotencyKey(owner: "o", digest: "d", request: "r") }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(claims.count { $0 == .claimed } == 1)
      #expect(claims.count { $0 == .running } == 15)
    }
  }

  @Test("A key goes from claimed to finished, or back; another request or owner is told apart", arguments: TestBackend.allCases)
  func life(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let claim = { try await store.claimIdempotencyKey(owner: $0, digest: "d", request: $1) }
      #expect(try await claim("o", "r") == .claimed)
      #expect(try await claim("o", "other") == .otherRequest)
      #expect(try await claim("p", "other") == .claimed)
      try await store.releaseIdempotencyKey(owner: "o", digest: "d")
      #expect(try await claim("o", "r") == .claimed)
      try await store.finishIdempotencyKey(owner: "o", digest: "d", answer: "sealed")
      #expect(try await claim("o", "r") == .finished(answer: "sealed"))
      try await store.releaseIdempotencyKey(owner: "o", digest: "d")
      #expect(try await claim("o", "r") == .finished(answer: "sealed"), "what is done stays done")
      try await store.finishIdempotencyKey(owner: "p", digest: "d", answer: nil)
      #expect(try await claim("p", "other") == .finished(answer: nil))
      #expect(try await store.purgeIdempotencyKeys(before: Date(timeIntervalSinceNow: -60)) == 0)
      #expect(try await store.purgeIdempotencyKeys(before: Date(timeIntervalSinceNow: 60)) == 2)
      #expect(try await claim("o", "r") == .claimed)
    }
  }

  @Test("A condition sees the newest state and stops the change", arguments: TestBackend.allCases)
  func conditions(_ backend: TestBackend) async throws {
    struct Stale: Error {}
    try await withStore(backend) { store in
      let node = try await store.createNode(NewNode(name: "n", address: "unix:/run/n.sock"))
      _ = try await store.updateNode(named: "n", NodeChange(description: "new")) { guard $0 == node else { throw Stale() } }
      await #expect(throws: Stale.self) {
        _ = try await store.updateNode(named: "n", NodeChange(description: "newer")) {
          guard $0 == node else { throw Stale() }
        }
      }
      await #expect(throws: Stale.self) { try await store.deleteNode(named: "n") { _ in throw Stale() } }
      #expect(try await store.node(named: "n").description == "new")
      try await store.deleteNode(named: "n") { #expect($0.description == "new") }
    }
  }
}
