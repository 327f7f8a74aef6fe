import DatabaseSupport
import Foundation
import Testing

@testable import Storage

@Suite(.serialized) struct SQLiteFileTests {
  private func mode(_ path: String) throws -> Int {
    try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
  }

  private func withDirectory(_ body: (String) async throws -> Void) async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try await body(directory)
  }

  private func open(_ path: String) async throws {
    try await Stores.open(DatabaseSettings(backend: .sqlite(path: path), retriesMax: 0), logger: quiet).close()
  }

  @Test("Directory and files are made for their owner only")
  func modes() async throws {
    try await withDirectory { directory in
      let path = "\(directory)/a/b/sluice.db"
      let store = try await Stores.open(DatabaseSettings(backend: .sqlite(path: path)), logger: quiet)
      try await store.setSetting("k", to: "v")
      #expect(try mode("\(directory)/a") == 0o700 && mode("\(directory)/a/b") == 0o700)
      for suffix in ["", "-wal", "-shm"] { #expect(try mode(path + suffix) == 0o600) }
      await store.close()
    }
  }

  @Test("What root makes in a service's folder is the service's", .enabled(if: geteuid() == 0))
  func owner() async throws {
    try await withDirectory { directory in
      let path = "\(directory)/sluice.db"
      #expect(chown(directory, 65534, 65534) == 0)
      let store = try await Stores.open(DatabaseSettings(backend: .sqlite(path: path)), logger: quiet)
      try await store.setSetting("k", to: "v")
      for suffix in ["", "-wal", "-shm"] {
        let owner = try FileManager.default.attributesOfItem(atPath: path + suffix)[.ownerAccountID] as? Int
        #expect(owner == 65534, "\(suffix)")
      }
      await store.close()
    }
  }

  @Test("A file that is no database is reported as corrupt")
  func notADatabase() async throws {
    try await withDirectory { directory in
      let path = "\(directory)/x.db"
      try Data(repeating: 0x41, count: 8192).write(to: URL(fileURLWithPath: path))
      let error = await storageError { try await open(path) }
      guard case .corrupt(let what) = error else {
        Issue.record("unexpected \(String(describing: error))")
        return
      }
      #expect(what.contains(path))
    }
  }

  @Test("A path that cannot be a file is a clear error")
  func impossible() async throws {
    for path in ["/proc/sluice/x.db", "/dev/null/x.db", "", "a\0b"] {
      let error = await storageError { try await open(path) }
      guard case .misconfigured(let reason, let remedy) = error else {
        Issue.record("unexpected \(String(describing: error))")
        continue
      }
      #expect(!reason.isEmpty && remedy.contains("DB_PATH"))
    }
  }

  @Test("A read-only file is a clear error that names it and the remedy")
  func readOnly() async throws {
    try await withDirectory { directory in
      try await ReadOnlyDirectory.with(in: directory) { path in
        try await open("\(path)/sluice.db")
      } body: { path in
        for path in ["\(path)/sluice.db", "\(path)/new.db"] {
          let error = await storageError { try await open(path) }
          guard case .misconfigured(let reason, let remedy) = error else {
            Issue.record("unexpected \(String(describing: error))")
            continue
          }
          #expect(reason.contains(path) && remedy.contains("DB_PATH"))
        }
      }
    }
  }

  @Test("Two stores on one file see each other's work and wait for each other's writes")
  func shared() async throws {
    let test = try TestBackend.sqlite.make()
    defer { test.remove() }
    let settings = try DatabaseSettings(environment: test.environment)
    let a = try await Stores.open(settings, logger: quiet), b = try await Stores.open(settings, logger: quiet)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<40 { group.addTask { try await (index % 2 == 0 ? a : b).setSetting("k\(index)", to: "v") } }
      try await group.waitForAll()
    }
    #expect(try await a.settings().count == 40)
    #expect(try await b.settings().count == 40)
    await a.close()
    await b.close()
  }
}
