import DatabaseSupport
import Foundation
import Identity
import Logging
import Rules
import Testing

@testable import Storage

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// One more program on a database.
func openStore(_ settings: DatabaseSettings) async throws -> SQLStore {
  try #require(try await Stores.open(settings, logger: quiet) as? SQLStore)
}

/// Runs the body with a store on a new, empty, migrated database.
func withStore(
  _ backend: TestBackend, _ adjust: (inout DatabaseSettings) -> Void = { _ in }, _ body: (SQLStore) async throws -> Void
) async throws {
  let database = try backend.make()
  defer { database.remove() }
  var settings = try DatabaseSettings(environment: database.environment)
  adjust(&settings)
  let store = try await openStore(settings)
  do { try await body(store) } catch {
    await store.close()
    throw error
  }
  await store.close()
}

/// Runs the body with a bare database, not migrated.
func withDatabase(_ backend: TestBackend, poolSize: Int = 4, _ body: (any Database) async throws -> Void) async throws {
  let test = try backend.make()
  defer { test.remove() }
  let database = try open(test, poolSize: poolSize)
  do { try await body(database) } catch {
    await database.close()
    throw error
  }
  await database.close()
}

/// One more pool on a test's database.
func open(_ test: TestDatabase, poolSize: Int = 4, poolTimeout: Duration = .seconds(20)) throws -> any Database {
  var settings = try DatabaseSettings(environment: test.environment)
  settings.poolSize = poolSize
  settings.poolTimeout = poolTimeout
  switch settings.backend {
  case .sqlite(let path): return try SQLiteDatabase(path: path, settings: settings)
  case .postgres(let server): return PostgresDatabase(server, settings: settings)
  case .mysql(let server): return MySQLDatabase(server, settings: settings)
  }
}

/// Waits until the condition holds; a failure if it doesn't within the time.
func eventually(
  within time: Duration = .seconds(30), _ what: Comment, _ condition: () async throws -> Bool,
  sourceLocation: SourceLocation = #_sourceLocation
) async throws {
  let deadline = ContinuousClock.now + time
  while ContinuousClock.now < deadline {
    if try await condition() { return }
    try await Task.sleep(for: .milliseconds(10))
  }
  Issue.record(what, sourceLocation: sourceLocation)
}

func isUnavailable(_ error: any Error) -> Bool {
  if case .unavailable = error as? StorageError { true } else { false }
}

/// The error that the body throws, as a StorageError; a failure if it throws none.
func storageError(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> some Any
) async -> StorageError? {
  do {
    _ = try await body()
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
    return nil
  } catch let error as StorageError {
    return error
  } catch {
    Issue.record(error, sourceLocation: sourceLocation)
    return nil
  }
}

extension NewUser {
  static func sample(_ email: String, _ roles: Set<Role> = [.viewer], isActive: Bool = true) throws -> NewUser {
    NewUser(email: try Email(email), name: "Sample", passwordHash: "$argon2id$x", roles: roles, isActive: isActive)
  }
}

extension NewWebhook {
  static func sample(_ name: String, kinds: [String] = []) -> NewWebhook {
    NewWebhook(
      id: UUID(), name: name, url: "https://hooks.example.org/\(name)", sealedSecret: "sealed \(name)", kinds: kinds,
      isActive: true, createdBy: Author(userID: nil, email: "editor@example.org"))
  }
}

extension WebhookDelivery {
  static func sample(_ result: Result, eventID: UInt64 = 0) -> WebhookDelivery {
    WebhookDelivery(
      eventID: eventID, eventKind: "applied", attempt: 1, result: result, status: result == .delivered ? 204 : nil,
      error: result == .delivered ? "" : "connection refused", milliseconds: 3, at: Date(unixMilliseconds: 1000))
  }
}

extension RuleSet {
  static func sample(_ name: String, rules: [String] = []) -> RuleSet {
    RuleSet(name: name, defaultAction: .drop, rules: rules.map { Rule(name: $0, action: .drop) })
  }
}

let editor = RuleSetEdit(author: Author(userID: nil, email: "editor@example.org"), reason: "because")

/// Texts that break what builds SQL or JSON by hand.
let hostileTexts = [
  "'; DROP TABLE users; --", "\"quoted\" 'single' `back`", "\\ \\' \\x00 \\u0000", "%_!%", "$1 $2 :name ?",
  "line\nbreak\ttab\r\u{1}", "𝄞 😀 e\u{301} \u{202E}rtl", "", " ", String(repeating: "ä", count: 20_000),
]
