import Foundation
import Testing

@testable import sluice

@Suite("Kept credentials", .timeLimit(.minutes(1)))
struct CredentialTests {
  private let credentials = Credentials(
    email: "a@b", accessToken: "A", refreshToken: "R", expiresAt: Date(timeIntervalSince1970: 1_800_000_000))

  @Test("Only their owner can read them, from the first moment and after every change")
  func modes() async throws {
    try await withFolder { folder in
      let store = CredentialStore(folder: folder.appending(path: "c/sluice"))
      let file = try store.folder.appending(path: "credentials.json")
      for email in ["a@b", "c@d"] {
        var changed = credentials
        changed.email = email
        try store.set(changed, for: "http://x")
        #expect(try mode(file) == 0o600)
        #expect(try mode(try store.folder) == 0o700)
        #expect(try store.credentials(for: "http://x") == changed)
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: try store.folder.path) == ["credentials.json"])
    }
  }

  @Test("Each API has its own; forgetting one keeps the others")
  func several() async throws {
    try await withFolder { folder in
      let store = CredentialStore(folder: folder)
      #expect(try store.credentials(for: "http://x") == nil)
      try store.set(credentials, for: "http://x")
      try store.set(credentials, for: "http://y")
      try store.set(nil, for: "http://x")
      #expect(try store.credentials(for: "http://x") == nil)
      #expect(try store.credentials(for: "http://y") == credentials)
    }
  }

  @Test("A file that others can read is refused, and so is a damaged one", arguments: [0o644, 0o640, 0o604])
  func exposed(_ mode: Int) async throws {
    try await withFolder { folder in
      let store = CredentialStore(folder: folder)
      try store.set(credentials, for: "http://x")
      let path = folder.appending(path: "credentials.json").path
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
      let exposed = try #require(throws: CommandError.self) { try store.credentials(for: "http://x") }
      #expect(exposed.message.contains("chmod 600"))
      try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
      try Data("{\"x\"".utf8).write(to: URL(filePath: path))
      let damaged = try #require(throws: CommandError.self) { try store.credentials(for: "http://x") }
      #expect(damaged.code == "credentials_damaged")
    }
  }

  @Test("The folder is XDG's, or below the home")
  func folders() throws {
    #expect(try CredentialStore(environment: ["XDG_CONFIG_HOME": "/x", "HOME": "/h"]).folder.path == "/x/sluice")
    #expect(try CredentialStore(environment: ["HOME": "/h"]).folder.path == "/h/.config/sluice")
    #expect(throws: CommandError.self) { try CredentialStore(environment: [:]).credentials(for: "http://x") }
  }

  @Test("Only one at a time renews")
  func exclusion() async throws {
    try await withFolder { folder in
      let store = CredentialStore(folder: folder)
      let counter = Counter()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<8 {
          group.addTask {
            try await store.exclusively {
              #expect(await counter.enter() == 1)
              await Task.yield()
              await counter.leave()
            }
          }
        }
        try await group.waitForAll()
      }
    }
  }

  private actor Counter {
    private var inside = 0
    func enter() -> Int {
      inside += 1
      return inside
    }
    func leave() { inside -= 1 }
  }
}
