import DatabaseSupport
import Foundation
import Testing

@testable import Storage

/// Statements that wait for the next trip to the server, and parts of a transaction that are undone alone.
@Suite(.serialized) struct LaterTests {
  private static let insert = "INSERT INTO settings (\"key\", value, updated_at) VALUES ($1, $2, 0)"

  private func withSettings(
    _ backend: TestBackend, _ body: (any Storage.Database) async throws -> Void
  ) async throws {
    // One connection: what a transaction leaves behind, the next one finds.
    try await withDatabase(backend, poolSize: 1) { database in
      try await Migrator(Schema.migrations).run(on: database)
      try await body(database)
    }
  }

  private func keys(_ database: any Storage.Database) async throws -> [String] {
    try await database.read { session in
      try session.all("SELECT \"key\" FROM settings ORDER BY \"key\"", []) { row throws(StorageError) in try row.text() }
    }
  }

  @Test("What is to run later runs in its turn, before whatever is read, and with the commit", arguments: TestBackend.allCases)
  func order(_ backend: TestBackend) async throws {
    try await withSettings(backend) { database in
      let counts = try await database.write { session in
        var counts: [Int] = []
        for n in 0..<300 {
          try session.executeLater(Self.insert, [.text("k\(1000 + n)"), .text("v")])
          if n % 100 == 99 { counts.append(try session.count("SELECT COUNT(*) FROM settings", [])) }
        }
        try session.executeLater("UPDATE settings SET value = $1 WHERE \"key\" = $2", [.text("w"), .text("k1000")])
        counts.append(try session.execute("DELETE FROM settings WHERE value = $1", [.text("w")]))
        try session.executeLater(Self.insert, [.text("last"), .text("v")])
        return counts
      }
      #expect(counts == [100, 200, 300, 1])
      let left = try await keys(database)
      #expect(left.count == 300 && left.contains("last") && !left.contains("k1000"))
    }
  }

  @Test("A failure behind its turn is a failure: nothing is committed, nothing is left for the next transaction",
    arguments: TestBackend.allCases)
  func failure(_ backend: TestBackend) async throws {
    try await withSettings(backend) { database in
      for end in 0..<3 {
        let error = await storageError {
          try await database.write { session in
            for key in ["a", "b", "a", "c"] { try session.executeLater(Self.insert, [.text(key), .text("v")]) }
            switch end {
            case 0: return
            case 1: _ = try session.count("SELECT COUNT(*) FROM settings", [])
            default: try session.define("UPDATE settings SET value = 'x'")
            }
          }
        }
        guard case .conflict = error else {
          Issue.record("\(String(describing: error)) is no conflict")
          continue
        }
        #expect(try await keys(database).isEmpty)
      }
      struct Refused: Error {}
      await #expect(throws: Refused.self) {
        try await database.write { session in
          try session.executeLater(Self.insert, [.text("a"), .text("v")])
          throw Refused()
        }
      }
      try await database.write { session in try session.executeLater(Self.insert, [.text("d"), .text("v")]) }
      #expect(try await keys(database) == ["d"])
    }
  }

  @Test("What cannot be sent is refused where it is said", arguments: TestBackend.allCases)
  func hostile(_ backend: TestBackend) async throws {
    try await withSettings(backend) { database in
      try await database.write { session in
        try session.beginPart()
        #expect(throws: StorageError.self) { try session.executeLater(Self.insert, [.text("nul\0"), .text("v")]) }
        #expect(throws: StorageError.self) { try session.rows("SELECT $1", [.text("nul\0")]) }
        try session.undoPart()
        try session.executeLater(Self.insert, [.text("after"), .text("v")])
      }
      #expect(try await keys(database) == ["after"])
    }
  }

  @Test("A part is undone alone: empty, not yet sent, sent, failed", arguments: TestBackend.allCases)
  func parts(_ backend: TestBackend) async throws {
    try await withSettings(backend) { database in
      try await database.write { session in
        func part(_ keys: [String], reads: Bool, ends: Bool) throws {
          try session.beginPart()
          for key in keys { try session.executeLater(Self.insert, [.text(key), .text("v")]) }
          if reads { _ = try session.count("SELECT COUNT(*) FROM settings", []) }
          if ends { try session.endPart() } else { try session.undoPart() }
        }
        try part([], reads: false, ends: false)
        try part(["kept-1"], reads: false, ends: true)
        try part(["undone-1"], reads: false, ends: false)
        try part(["undone-2", "undone-3"], reads: true, ends: false)
        try part(["kept-2"], reads: true, ends: true)
        for reads in [false, true] {
          #expect(throws: StorageError.self) { try part(["lost", "kept-1"], reads: reads, ends: true) }
          try session.undoPart()
        }
        try part([], reads: false, ends: true)
        try session.executeLater(Self.insert, [.text("kept-3"), .text("v")])
      }
      #expect(try await keys(database) == ["kept-1", "kept-2", "kept-3"])
    }
  }

  @Test("Who locks a row waits for who has it, and reads what that one wrote", arguments: [TestBackend.postgres, .mysql])
  func lock(_ backend: TestBackend) async throws {
    try await withDatabase(backend, poolSize: 8) { database in
      try await Migrator(Schema.migrations).run(on: database)
      try await database.write { session in try session.executeLater(Self.insert, [.text("count"), .text("0")]) }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<8 {
          group.addTask {
            for _ in 0..<25 {
              try await database.write { session in
                try session.lockLater("settings", where: "\"key\" = $1", [.text("count")])
                let value = try session.first("SELECT value FROM settings WHERE \"key\" = $1", [.text("count")]) {
                  row throws(StorageError) in try row.text()
                }
                let next = value.flatMap { Int($0) }.map { $0 + 1 } ?? -1
                try session.executeLater(
                  "UPDATE settings SET value = $1 WHERE \"key\" = $2", [.text("\(next)"), .text("count")])
              }
            }
          }
        }
        try await group.waitForAll()
      }
      let value = try await database.read { session in
        try session.first("SELECT value FROM settings WHERE \"key\" = $1", [.text("count")]) { row throws(StorageError) in
          try row.text()
        }
      }
      #expect(value == "200", "no two had the same number")
    }
  }
}
