import DatabaseSupport
import Foundation
import Identity
import Logging
import Storage
import Testing

@testable import RESTAPI

/// `sluice-api rekey`, the program, on a database with many second factors and webhooks.
@Suite struct RekeyTests {
  private static let factorCount = 400
  private static let webhookCount = Webhook.countMax
  private static let count = factorCount + webhookCount

  private func text(_ directory: String) throws -> String {
    try String(contentsOfFile: "\(directory)/state/keys/data.key", encoding: .utf8)
  }

  private func ring(_ directory: String) throws -> SealingKeyRing { try SealingKeyRing(parsing: try text(directory)) }

  private func store(_ directory: String) async throws -> any Store {
    try await Stores.open(
      DatabaseSettings(environment: ["DB_PATH": "\(directory)/s.db"]),
      logger: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() })
  }

  /// Accounts with a factor, and webhooks; what each secret is, by whose it is.
  private func fill(_ directory: String) async throws -> [UUID: [UInt8]] {
    let sealer = SecretSealer(try ring(directory))
    let store = try await store(directory)
    var secrets: [UUID: [UInt8]] = [:]
    for index in 0..<Self.factorCount {
      let user = try await store.createUser(
        NewUser(email: Email("u\(index)@example.org"), name: "U", passwordHash: "$argon2id$x", roles: [.viewer]))
      let secret = SecureRandom.bytes(count: 20)
      try await store.beginSecondFactor(
        userID: user.id, sealedSecret: sealer.seal(secret, for: SecondFactors.purpose(user.id)))
      secrets[user.id] = secret
    }
    for index in 0..<Self.webhookCount {
      let id = UUID()
      let secret = SecureRandom.bytes(count: 20)
      _ = try await store.createWebhook(
        NewWebhook(
          id: id, name: "w\(index)", url: "https://hooks.example.org/",
          sealedSecret: sealer.seal(secret, for: Webhook.sealingPurpose(of: id)), kinds: [], isActive: true,
          createdBy: .system))
      secrets[id] = secret
    }
    await store.close()
    return secrets
  }

  /// Every secret opens with the keys that are there; how many each key has.
  private func check(_ directory: String, _ secrets: [UUID: [UInt8]]) async throws -> [String: Int] {
    let store = try await store(directory)
    let sealer = SecretSealer(try ring(directory))
    for webhook in try await store.webhooks(Page(limit: Page.limitMax)).items {
      #expect(
        try sealer.open(webhook.sealedSecret, for: Webhook.sealingPurpose(of: webhook.id)) == secrets[webhook.id])
    }
    for (id, secret) in secrets {
      guard let factor = try await store.secondFactor(userID: id) else { continue }
      #expect(try sealer.open(factor.sealedSecret, for: SecondFactors.purpose(id)) == secret)
    }
    let counts = try await SecretRekey.counts(store)
    await store.close()
    return counts
  }

  private func run(_ directory: String, _ arguments: String...) async throws -> (status: Int32?, text: String) {
    let run = try ExecutableTests.Run(in: directory, [:], ["rekey"] + arguments)
    return (try await run.status(), run.text)
  }

  @Test("Killed wherever it is, it has lost nothing; run again it ends; old keys go only when nothing needs them")
  func killed() async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let api = try ExecutableTests.Run(in: directory, [:])
    _ = try await api.port()
    let secrets = try await fill(directory)
    let old = try ring(directory).newest
    // When the new key is there, and twice in the middle of the work.
    for sign in [nil, "100 secrets", "100 secrets"] {
      let rekey = try ExecutableTests.Run(in: directory, [:], ["rekey", "--now"])
      let deadline = ContinuousClock.now + .seconds(30)
      func isThere() throws -> Bool { try sign.map(rekey.text.contains) ?? (ring(directory).keys.count == 2) }
      while try !isThere(), ContinuousClock.now < deadline { usleep(1000) }
      rekey.signal(SIGKILL)
      _ = try await rekey.status()
      let counts = try await check(directory, secrets)
      #expect(counts.values.reduce(0, +) == Self.count)
      let newestCount = counts[try ring(directory).newest.id] ?? 0
      #expect(sign == nil || newestCount >= 100, "\(counts)")
      if counts[old.id] != nil {
        let early = try await run(directory, "--forget", "--now")
        #expect(early.status == 1 && early.text.contains("run sluice-api rekey first"), "\(early.text)")
      }
    }
    let whole = try await run(directory, "--now", "--json")
    #expect(whole.status == 0, "\(whole.text)")
    let newest = try ring(directory).newest
    let keyCount = try ring(directory).keys.count
    #expect(newest.id != old.id && keyCount == 2, "one new key, however often it was begun")
    #expect(try await check(directory, secrets) == [newest.id: Self.count])
    #expect(try await run(directory, "--forget", "--now").status == 0)
    #expect(try ring(directory).keys == [newest])
    #expect(try await check(directory, secrets) == [newest.id: Self.count])
    let mode = try FileManager.default.attributesOfItem(atPath: "\(directory)/state/keys/data.key")[.posixPermissions]
    #expect((mode as? NSNumber)?.intValue == 0o600)
    // The API that ran on takes the ring as it is now.
    api.signal(SIGHUP)
    api.terminate()
    #expect(try await api.status() == 0, "\(api.text)")
    for word in try text(directory).split(separator: " ") where word.count > 40 { #expect(!whole.text.contains(word)) }
  }

  @Test("A file that others can read, or that holds no keys, is refused with what to do")
  func refused() async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let api = try ExecutableTests.Run(in: directory, [:])
    _ = try await api.port()
    api.terminate()
    _ = try await api.status()
    let file = "\(directory)/state/keys/data.key"
    chmod(file, 0o644)
    let readable = try await run(directory, "--now")
    #expect(readable.status == 1 && readable.text.contains("chmod 600"))
    chmod(file, 0o600)
    try Data("nothing\n".utf8).write(to: URL(fileURLWithPath: file))
    let damaged = try await run(directory, "--now")
    #expect(damaged.status == 1 && damaged.text.contains("line 1"))
    try FileManager.default.removeItem(atPath: file)
    let gone = try await run(directory, "--now")
    #expect(gone.status == 1 && gone.text.contains("from a backup"))
  }

  @Test("A lost data.key is not made anew behind anybody's back; who says that it is lost learns what is lost with it")
  func lostKey() async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let first = try ExecutableTests.Run(in: directory, [:])
    _ = try await first.port()
    let secrets = try await fill(directory)
    first.terminate()
    _ = try await first.status()
    let file = "\(directory)/state/keys/data.key"
    let here = try await run(directory, "--lost")
    #expect(here.status == 1 && here.text.contains("not lost"), "\(here.text)")
    try FileManager.default.moveItem(atPath: file, toPath: "\(directory)/kept")
    let refused = try ExecutableTests.Run(in: directory, [:])
    #expect(try await refused.status() == 1)
    #expect(refused.text.contains("\(Self.count) secrets") && refused.text.contains("rekey --lost"), "\(refused.text)")
    #expect(!FileManager.default.fileExists(atPath: file))

    let lost = try await run(directory, "--lost")
    #expect(lost.status == 2 && lost.text.contains("no key opens \(Self.count) secrets"), "\(lost.text)")
    let started = try ExecutableTests.Run(in: directory, [:])
    _ = try await started.port()
    #expect(started.text.contains("not in data.key"), "\(started.text)")
    started.terminate()
    _ = try await started.status()

    // The file was found after all.
    try FileManager.default.removeItem(atPath: file)
    try FileManager.default.moveItem(atPath: "\(directory)/kept", toPath: file)
    #expect(try await check(directory, secrets).values.reduce(0, +) == Self.count)
  }

  @Test("Another database than the service's is named and refused before a key is taken away")
  func wrongDatabase() async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let api = try ExecutableTests.Run(in: directory, [:])
    _ = try await api.port()
    _ = try await fill(directory)
    api.terminate()
    _ = try await api.status()
    func rekey(_ database: String, _ arguments: String...) async throws -> ExecutableTests.Run {
      let run = try ExecutableTests.Run(
        in: directory, ["DB_PATH": "\(directory)/\(database)"], ["rekey", "--now"] + arguments)
      _ = try await run.status()
      return run
    }
    let missing = try await rekey("none.db")
    #expect(missing.text.contains("there is no database \(directory)/none.db") && missing.text.contains("DB_"))
    #expect(!FileManager.default.fileExists(atPath: "\(directory)/none.db"))
    // One that was a service's, and is none now.
    let other = try ExecutableTests.Run(in: directory, ["DB_PATH": "\(directory)/other.db"])
    _ = try await other.port()
    other.terminate()
    _ = try await other.status()
    #expect(try await run(directory, "--now").status == 0)
    let keys = try ring(directory)
    let forgotten = try await rekey("other.db", "--forget")
    #expect(try await forgotten.status() == 1)
    #expect(
      forgotten.text.contains("database: SQLite \(directory)/other.db")
        && forgotten.text.contains("not encrypted with the newest key"), "\(forgotten.text)")
    #expect(try ring(directory) == keys)
    #expect(try await run(directory, "--forget", "--now").status == 0)
  }
}
