import ArgumentParser
import Foundation
import Identity
import Logging
import RESTAPI
import Settings
import Storage

/// Another key for the secrets in the database.
struct RekeyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rekey", abstract: "Encrypt the secrets in the database with a new key.",
    discussion: """
      The keys are in data.key in the folder \(Setting.tokenKeysDirectory.key), one line each; the newest encrypts, every one
      decrypts. `rekey` adds one, waits \(Int(TokenKeys.activationDelay)) s until every running copy of the API has read it (copies on other
      machines need the same file by then), and encrypts each secret anew, while the API goes on. Killed in the middle it
      has lost nothing: run it again. `rekey --forget` then takes the old keys away, if nothing needs them any more.

      A backup needs the data.key of its time: keep a copy of the file with it. Where data.key is lost for good the service
      does not start as long as there are secrets; `rekey --lost` makes a key, and names the accounts and webhooks whose
      secrets are lost with the old one.

      EXAMPLES
        sluice-api rekey && sluice-api rekey --forget      # once a year, or when somebody else may have the file
        sluice-api rekey --now                             # at once: no copy of the API runs

      EXIT CODES: 0 done; 1 not done, nothing is lost; 2 done, and there are secrets that no key opens.
      """)

  @Flag(help: "Do not wait: no copy of the API runs, or all are started anew afterwards.")
  var now = false
  @Flag(help: "Take the old keys away.")
  var forget = false
  @Flag(help: "Make a key where data.key is lost for good; what was encrypted is lost with it.")
  var lost = false
  @OptionGroup var settings: SettingOptions
  @Flag(name: .shortAndLong, help: "Print JSON.")
  var json = false

  func validate() throws {
    guard !(forget && lost) else { throw ValidationError("--forget and --lost exclude each other") }
  }

  func run() async throws {
    let settings = try settings.load()
    try await Maintenance.run(settings) { database in
      let keys = TokenKeys(settings)
      let store = try await Stores.open(database, logger: Logger(label: "database") { _ in SwiftLogNoOpLogHandler() })
      do {
        guard try await store.isSeeded() else {
          throw StartError("no sluice-api has run on this database yet; \(Maintenance.elsewhere)")
        }
        if lost { try keys.replaceLostSealingKey() }
        try await forget ? takeOldAway(keys, store) : encrypt(keys, store)
      } catch {
        await store.close()
        throw error
      }
      await store.close()
    }
  }

  private func encrypt(_ keys: TokenKeys, _ store: any Store) async throws {
    // What an earlier run began is brought to its end, not begun again.
    let ring = try keys.directory.locked {
      let found = try keys.reloadSealingKeys()
      if found.keys.count > 1 || lost { return found }
      let delay = now ? 0 : TokenKeys.activationDelay
      let ring = try found.adding(.random(activeFrom: max(Date(), found.newest.activeFrom + 1) + delay))
      try keys.directory.replace(with: ring)
      return ring
    }
    let key = ring.newest
    try await pause(until: key.activeFrom, "every copy of the API has read the new key \(key.id)")
    let report = try await SecretRekey.run(store, SecretSealer(ring), to: key.id) { count in
      Maintenance.say("\(count) secrets encrypted anew")
    }
    try tell(ring, report.counts)
    guard report.unreadable.isEmpty else {
      let some = report.unreadable.prefix(10).map { secret in
        let id = secret.ownerID.uuidString.lowercased()
        return switch secret.kind {
        case .secondFactor: "of the account \(id) (reset its second factor)"
        case .webhook: "of the webhook \(id) (give it a new secret)"
        }
      }
      Maintenance.say(
        "sluice-api: no key opens \(report.unreadable.count) secrets: \(some.joined(separator: ", "))")
      throw ExitCode(2)
    }
  }

  private func takeOldAway(_ keys: TokenKeys, _ store: any Store) async throws {
    let ring = try keys.reloadSealingKeys()
    guard ring.keys.count > 1 else { return try tell(ring, try await SecretRekey.counts(store)) }
    guard try await SecretRekey.lastKeyID(store) == ring.newest.id else {
      throw StartError(
        "the secrets in this database were not encrypted with the newest key (\(ring.newest.id)): run sluice-api rekey first; "
          + Maintenance.elsewhere)
    }
    if !now {
      try await pause(
        until: ring.newest.activeFrom + TokenKeys.activationDelay, "no copy of the API encrypts with an old key any more")
    }
    let counts = try await SecretRekey.counts(store)
    let needed = ring.keys.dropLast().filter { counts[$0.id] != nil }
    guard needed.isEmpty else {
      let names = needed.map { "\($0.id) (\(counts[$0.id] ?? 0) secrets)" }.joined(separator: ", ")
      throw StartError("keys are still needed: \(names); run sluice-api rekey first")
    }
    let rest = try keys.directory.locked {
      let found = try keys.reloadSealingKeys()
      guard found == ring else { throw StartError("somebody else has changed the keys just now: try again") }
      try keys.directory.replace(with: ring.forgettingOld())
      return ring.forgettingOld()
    }
    try tell(rest, counts)
  }

  private func pause(until end: Date, _ why: String) async throws {
    let wait = end.timeIntervalSinceNow
    guard wait > 0 else { return }
    Maintenance.say("waiting \(Int(wait.rounded(.up))) s: then \(why)")
    try await Task.sleep(for: .seconds(wait + 1))
  }

  private struct Row: Encodable {
    let id: String
    let active_from: Date
    let secrets: Int
  }

  /// Never a key itself.
  private func tell(_ ring: SealingKeyRing, _ counts: [String: Int]) throws {
    let rows = ring.keys.map { Row(id: $0.id, active_from: $0.activeFrom, secrets: counts[$0.id] ?? 0) }
    guard !json else { return try Maintenance.printJSON(rows) }
    for row in rows { print("\(row.id)  \(row.secrets) secrets, since \(row.active_from.formatted(.iso8601))") }
  }
}
