import Audit
import DatabaseSupport
import Foundation
import Identity
import Synchronization
import Testing

@testable import Storage

/// What happens to credentials is told beside what happens in the daemons.
@Suite(.serialized) struct CredentialEventTests {
  private static let author = Author(userID: nil, email: "admin@x.org")

  /// Everything about credentials, oldest first.
  private static let all: EventFilter = {
    var filter = EventFilter()
    filter.isAscending = true
    filter.credentials = .init(accounts: true, clients: true)
    return filter
  }()

  /// As a request of an administrator's.
  private func asAdministrator<T>(_ body: () async throws -> T) async throws -> T {
    let request = AuditedRequest(
      actor: AuditActor(kind: .user, id: "1", name: "admin@x.org"), address: "192.0.2.1", requestID: "r", operation: "test")
    return try await AuditedRequest.$current.withValue(request) { try await body() }
  }

  @Test("Each change of an account's credentials is one event, which says what, whose, by whom and from where",
    arguments: TestBackend.allCases)
  func accounts(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org"))
      #expect(try await store.events(Self.all, Page()).total == 0)
      struct No: Error {}
      try await asAdministrator {
        _ = try await store.updateUser(id: user.id, UserChange(name: "Another", roles: [.maintainer]))
        await #expect(throws: No.self) {
          try await store.updateUser(id: user.id, UserChange(passwordHash: "$2")) { _ in throw No() }
        }
        #expect(try await store.user(id: user.id).credentialsChangedAt == nil, "nothing of this is about credentials")
        _ = try await store.updateUser(id: user.id, UserChange(passwordHash: "$3"))
        _ = try await store.updateUser(id: user.id, UserChange(email: Email("b@x.org")))
        try await store.createPasswordReset(
          userID: user.id, digest: "digest", expiresAt: Date(timeIntervalSinceNow: 60)) { _ in }
      }
      #expect(try await store.user(id: user.id).credentialsChangedAt != nil)
      #expect(try await store.resetPassword(digest: "digest", passwordHash: "$4") != nil)
      try await store.beginSecondFactor(userID: user.id, sealedSecret: "one")
      try await store.removeSecondFactor(userID: user.id, keepingSession: nil) { _ in }
      try await store.beginSecondFactor(userID: user.id, sealedSecret: "two")
      _ = try await store.confirmSecondFactor(userID: user.id, step: 1, recoveryDigests: ["r1"], keepingSession: nil)
      let request = AuditedRequest(address: "198.51.100.1", requestID: "r", operation: "loginSecondFactor")
      let uses = try await AuditedRequest.$current.withValue(request) {
        [
          try await store.useRecoveryCode(userID: user.id, digest: "r1"),
          try await store.useRecoveryCode(userID: user.id, digest: "r1"),
        ]
      }
      #expect(uses == [true, false])
      try await store.replaceRecoveryCodes(userID: user.id, digests: ["r2"])
      try await store.removeSecondFactor(userID: user.id, keepingSession: nil) { _ in }

      let events = try await store.events(Self.all, Page()).items
      #expect(
        events.map { $0.event.fields["change"] ?? "" } == [
          "password_changed", "address_changed", "password_reset_made", "password_changed", "second_factor_enabled",
          "recovery_code_used", "recovery_codes_replaced", "second_factor_removed",
        ])
      #expect(events.allSatisfy { $0.node == nil && $0.event.kind == CredentialEvent.accountKind })
      #expect(events[0].event.message == "a@x.org: the password was changed, by admin@x.org from 192.0.2.1")
      #expect(
        events[1].event.fields == [
          "account": "b@x.org", "former_account": "a@x.org", "change": "address_changed", "by": "admin@x.org",
          "from": "192.0.2.1",
        ])
      #expect(events[3].event.message == "b@x.org: the password was changed, by system")
      #expect(events[5].event.fields["by"] == "b@x.org" && events[5].event.fields["from"] == "198.51.100.1")
      for secret in ["$3", "$4", "digest", "r1", "one", "two"] {
        #expect(!events.contains { $0.event.message.contains(secret) || $0.event.fields.values.contains(secret) }, "\(secret)")
      }
    }
  }

  @Test("Keys that are made, rotated and revoked are events; the daemons' are numbered with them, and filters tell them apart",
    arguments: TestBackend.allCases)
  func clients(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let (user, other) = (try await store.createUser(.sample("a@x.org")), try await store.createUser(.sample("b@x.org")))
      let node = try await store.createNode(NewNode(name: "n", address: "unix:/n"))
      func tell(_ sequence: UInt64) async throws {
        let event = NewNodeEvent(
          position: EventPosition(epoch: 1, sequence: sequence), kind: "applied", interface: "eth0", message: "",
          fields: ["rule_set": "edge"], happenedAt: Date())
        #expect(try await store.recordEvents([event], ofNode: node.id) == 1)
      }
      let client = try await store.createAPIClient(NewAPIClient(name: "deploy", scopes: [], createdBy: Self.author))
      try await tell(1)
      _ = try await store.addAPIKey(NewAPIKey(prefix: "slk_a", digest: "d1"), toClient: client.id) { _ in }
      try await tell(2)
      let rotation = NewAPIKey(prefix: "slk_b", digest: "d2", othersEndAt: Date(timeIntervalSinceNow: 60))
      let made = try await store.addAPIKey(rotation, toClient: client.id) { _ in }
      _ = try await store.removeAPIKey(id: made.keys[0].id, ofClient: client.id) { _ in }
      _ = try await store.updateUser(id: user.id, UserChange(passwordHash: "$2"))
      _ = try await store.updateUser(id: other.id, UserChange(passwordHash: "$2"))
      try await tell(3)

      func found(_ change: (inout EventFilter) -> Void) async throws -> [String] {
        var filter = EventFilter()
        filter.isAscending = true
        change(&filter)
        return try await store.events(filter, Page()).items.map { $0.event.fields["change"] ?? "node" }
      }
      let keys = ["key_made", "key_rotated", "key_revoked"]
      let passwords = ["password_changed", "password_changed"]
      #expect(try await found { _ in } == ["node", "node", "node"], "none about credentials where nothing is said")
      #expect(
        try await found { $0.credentials = .init(accounts: true, clients: true) }
          == ["node", "key_made", "node", "key_rotated", "key_revoked"] + passwords + ["node"])
      #expect(try await found { $0.credentials.clients = true; $0.kinds = [CredentialEvent.clientKind] } == keys)
      #expect(try await found { $0.kinds = [CredentialEvent.clientKind, CredentialEvent.accountKind] } == [])
      let nothing = EventFilter.Places(nodes: [], interfaces: [], ruleSets: [])
      #expect(try await found { $0.among = nothing; $0.credentials.accounts = true } == passwords)
      #expect(try await found { $0.among = nothing; $0.credentials.ownAccount = user.id } == ["password_changed"])
      #expect(try await found { $0.among = nothing; $0.credentials.ownAccount = UUID() } == [])
      #expect(try await found { $0.node = "n"; $0.credentials.accounts = true } == ["node", "node", "node"])
      #expect(try await found { $0.among = .init(nodes: ["n"], interfaces: [], ruleSets: []) } == ["node", "node", "node"])
      let events = try await store.events(Self.all, Page()).items
      #expect(events.map(\.id) == events.map(\.id).sorted() && Set(events.map(\.id)).count == 8)
      #expect(events[4].event.message == "deploy: a key was revoked (slk_a), by system")
      // The event outlives what it is about, and the node takes only its own with it.
      try await store.deleteUser(id: user.id)
      try await store.deleteNode(named: "n")
      #expect(try await store.events(Self.all, Page()).total == 5)
      #expect(try await found { $0.credentials.ownAccount = user.id } == [])
    }
  }

  private final class Clock: Sendable {
    private let date = Mutex(Date(timeIntervalSince1970: 1_800_000_000))
    var now: Date { date.withLock { $0 } }
    func jump(days: Double) { date.withLock { $0 += days * 86_400 } }
  }

  @Test("A key's end is told fourteen days and one day before, once each, however many copies of the API look",
    arguments: TestBackend.allCases)
  func ends(_ backend: TestBackend) async throws {
    let test = try backend.make()
    defer { test.remove() }
    let databases = try (0..<3).map { _ in try open(test) }
    try await Migrator(Schema.migrations).run(on: databases[0])
    let clock = Clock()
    let stores = databases.map { SQLStore($0, now: { clock.now }) }
    let store = stores[0]
    func tell() async throws -> Int {
      try await withThrowingTaskGroup(of: Int.self) { group in
        for store in stores { for _ in 0..<2 { group.addTask { try await store.tellOfEndingKeys() } } }
        return try await group.reduce(0, +)
      }
    }
    let client = try await store.createAPIClient(NewAPIClient(name: "deploy", scopes: [], createdBy: Self.author))
    let idle = try await store.createAPIClient(
      NewAPIClient(name: "idle", scopes: [], isActive: false, createdBy: Self.author))
    func add(_ prefix: String, days: Double?, to client: APIClientRecord) async throws {
      let end = days.map { clock.now.addingTimeInterval($0 * 86_400) }
      _ = try await store.addAPIKey(NewAPIKey(prefix: prefix, digest: prefix, expiresAt: end), toClient: client.id) { _ in }
    }
    try await add("slk_long", days: 90, to: client)
    try await add("slk_week", days: 7, to: client)
    try await add("slk_hour", days: 1.0 / 24, to: client)
    try await add("slk_ever", days: nil, to: client)
    try await add("slk_idle", days: 90, to: idle)
    var told: [[Int]] = []
    for days in [0, 5.99, 0.02, 69.98, 0.02, 1, 11.98, 0.02, 0.5, 1] {
      clock.jump(days: days)
      told.append([try await tell(), try await tell()])
    }
    // 7 days - 1 day: the week's. 76 and 89 days: the long one's.
    #expect(told.map(\.[0]) == [0, 0, 1, 0, 1, 0, 0, 1, 0, 0], "\(told)")
    #expect(told.allSatisfy { $0[1] == 0 })
    var filter = Self.all
    filter.kinds = [CredentialEvent.keyExpiresKind]
    let events = try await store.events(filter, Page()).items.map(\.event)
    #expect(events.map { "\($0.fields["key"] ?? "") \($0.fields["within_days"] ?? "")" } == ["slk_week 1", "slk_long 14", "slk_long 1"])
    #expect(events[0].message.hasPrefix("deploy: the key slk_week ends at 2027-") && events[0].message.contains("client key create deploy"))
    // One that nobody looked at in time is told of once.
    try await add("slk_late", days: 20, to: client)
    clock.jump(days: 19.5)
    #expect(try await tell() == 1)
    #expect(try await tell() == 0)
    for database in databases { await database.close() }
  }

  @Test("A database with events of the schema before keeps them, and takes those about credentials", arguments: TestBackend.allCases)
  func migration(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      try await Migrator(Array(Schema.migrations.prefix(16))).run(on: database)
      _ = try await database.write { session in
        let node = SQLValue(UUID())
        try session.execute(
          "INSERT INTO nodes (id, name, address, description, created_at, updated_at) VALUES ($1, 'n', 'unix:/n', '', 1, 1)",
          [node])
        for number in 1...3 {
          try session.execute(
            """
            INSERT INTO events (id, node_id, epoch, sequence, kind, interface, rule_set, message, fields, happened_at)
              VALUES ($1, $2, 7, $1, 'applied', 'eth0', 'edge', 'ä', '{"rule_set":"edge"}', 5)
            """, [SQLValue(number), node])
        }
        try session.execute("UPDATE guards SET version = 3 WHERE name = 'events'", [])
      }
      #expect(try await Migrator(Schema.migrations).run(on: database).first == 17)
      let store = SQLStore(database)
      let before = try await store.events(Self.all, Page()).items
      #expect(before.map(\.id) == [1, 2, 3] && before.allSatisfy { $0.node == "n" && $0.event.message == "ä" })
      let user = try await store.createUser(.sample("a@x.org"))
      _ = try await store.updateUser(id: user.id, UserChange(passwordHash: "$2"))
      #expect(try await store.events(Self.all, Page()).items.map(\.node) == ["n", "n", "n", nil])
      // The two keys of the table still hold.
      _ = try await database.write { session in
        try session.execute("UPDATE users SET id = 'other' WHERE email = 'a@x.org'", [])
      }
      #expect(
        try await database.read { try $0.count("SELECT COUNT(*) FROM events WHERE account_id = 'other'", []) } == 1)
      let error = await storageError {
        try await database.write { try $0.execute("UPDATE events SET node_id = 'nowhere' WHERE id = 1", []) }
      }
      #expect(error != nil)
      try await store.deleteNode(named: "n")
      #expect(try await store.events(Self.all, Page()).total == 1)
    }
  }
}
