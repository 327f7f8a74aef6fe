import ArgumentParser
import Foundation
import Identity
import JSONValues
import LinuxSystem
import Logging
import Settings
import Storage

/// Accounts from a file, by their addresses.
struct SeedCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "seed", abstract: "Bring accounts into the database from a file; again and again does no harm.",
    discussion: """
      The file is a JSON array of objects: email, and where wanted name, roles (Admin, Maintainer, Viewer), custom_roles
      and is_active. The email is the key: an account that is there is changed where the file says something else, its
      password and second factor stay. A new account has no password: the report has a token for `sluice password reset`,
      good for a day. A record that is wrong is reported and skipped, the others stand.

      EXAMPLES
        echo '[{"email":"ops@example.org","name":"Ops","roles":["Maintainer"]}]' > accounts.json
        sluice-api seed accounts.json

      EXIT CODES: 0 all done; 1 some records were skipped, or nothing could be done; 64 wrong usage or settings.
      """)

  @Argument(help: "The file, at most 4 MiB and 10,000 records.")
  var file: String
  @OptionGroup var options: SettingOptions
  @Flag(name: .shortAndLong, help: "Print JSON.")
  var json = false

  func run() async throws {
    try await Maintenance.run(try options.load(), makesDatabase: true) { database in
      let records = try Seeding.records(in: SmallFile.read(file, byteCountMax: Seeding.byteCountMax))
      let store = try await Stores.open(database, logger: Logger(label: "database"))
      let outcomes = await Seeding(store: store, hasher: try PasswordHasher()).run(records)
      await store.close()
      report(outcomes)
      guard outcomes.allSatisfy({ $0.result != .skipped }) else { throw ExitCode.failure }
    }
  }

  private func report(_ outcomes: [Seeding.Outcome]) {
    guard !json else {
      let value = JSONValue.array(outcomes.map(\.json))
      return print(value.text)
    }
    for outcome in outcomes {
      let more = outcome.note.map { ": \($0)" } ?? ""
      print("\(outcome.result.rawValue)  [\(outcome.index)] \(outcome.email)\(more)")
    }
  }
}

/// Takes records one by one: each is a transaction of its own.
struct Seeding {
  static let byteCountMax = 4 << 20
  static let recordsMax = 10_000
  private static let resetSeconds: TimeInterval = 86_400
  private static let members: Set<String> = ["email", "name", "roles", "custom_roles", "is_active"]

  let store: any Store
  let hasher: PasswordHasher

  enum Result: String, Sendable {
    case created, changed, unchanged, skipped
  }

  /// What came of one record.
  struct Outcome: Sendable {
    let index: Int
    /// As it stands in the record; empty where there is none.
    let email: String
    let result: Result
    /// Why it was skipped; of a new account the token.
    let note: String?

    var json: JSONValue {
      [
        "index": .integer(Int64(index)), "email": .string(email), "result": .string(result.rawValue),
        result == .created ? "reset_token" : "reason": note.map { .string($0) } ?? .null,
      ]
    }
  }

  /// Why a record, or the file, is refused.
  struct Fault: Error, CustomStringConvertible {
    let description: String
  }

  /// The records as they stand in the file.
  static func records(in bytes: [UInt8]) throws -> [JSONValue] {
    let value: JSONValue
    do throws(JSONSyntaxError) { value = try JSONValue(parsing: bytes) } catch {
      throw Fault(description: "the file is not JSON: \(error.reason) at byte \(error.offset)")
    }
    guard let records = value.array else { throw Fault(description: "the file is no JSON array of accounts") }
    guard records.count <= recordsMax else {
      throw Fault(description: "the file has \(records.count) records; \(recordsMax) are possible at once")
    }
    return records
  }

  func run(_ records: [JSONValue]) async -> [Outcome] {
    var outcomes: [Outcome] = []
    var seen: Set<Email> = []
    for (index, record) in records.enumerated() {
      let text = String((record["email"]?.string ?? "").prefix(Email.byteCountMax))
      do {
        let account = try Account(record)
        guard seen.insert(account.email).inserted else { throw Fault(description: "the file has this email twice") }
        let (result, note) = try await apply(account)
        outcomes.append(Outcome(index: index, email: account.email.value, result: result, note: note))
      } catch {
        outcomes.append(Outcome(index: index, email: text, result: .skipped, note: "\(error)"))
      }
    }
    return outcomes
  }

  private struct Account {
    var email: Email
    var name: String?
    var roles: Set<Role>?
    var customRoles: [String]?
    var isActive: Bool?

    init(_ record: JSONValue) throws {
      guard let object = record.object else { throw Fault(description: "is no object") }
      if let unknown = object.keys.sorted().first(where: { !Seeding.members.contains($0) }) {
        throw Fault(description: "has an unknown member '\(unknown.prefix(64))'")
      }
      guard let text = object["email"]?.string else { throw Fault(description: "has no email") }
      email = try Email(text)
      if let value = object["name"] {
        guard let text = value.string, text.utf8.count <= 128 else { throw Fault(description: "name is no short text") }
        name = text
      }
      if let value = object["roles"] {
        let words = try Self.texts(value, "roles")
        roles = Set(words.compactMap(Role.init))
        guard roles?.count == Set(words).count else {
          throw Fault(description: "roles has another one than \(Role.allCases.map(\.rawValue).joined(separator: ", "))")
        }
      }
      if let value = object["custom_roles"] { customRoles = Set(try Self.texts(value, "custom_roles")).sorted() }
      if let value = object["is_active"] {
        guard let flag = value.bool else { throw Fault(description: "is_active is neither true nor false") }
        isActive = flag
      }
    }

    private static func texts(_ value: JSONValue, _ name: String) throws -> [String] {
      guard let elements = value.array, elements.count <= 16, elements.allSatisfy({ $0.string != nil }) else {
        throw Fault(description: "\(name) is no list of at most 16 names")
      }
      return elements.compactMap(\.string)
    }
  }

  private func apply(_ account: Account) async throws -> (Result, note: String?) {
    guard let old = try await store.user(email: account.email) else { return (.created, try await create(account)) }
    let customRoles = account.customRoles.flatMap { $0 == old.customRoles.map(\.name) ? nil : $0 }
    let change = UserChange(
      name: account.name.flatMap { $0 == old.name ? nil : $0 }, roles: account.roles.flatMap { $0 == old.roles ? nil : $0 },
      customRoles: customRoles, isActive: account.isActive.flatMap { $0 == old.isActive ? nil : $0 })
    guard change.name != nil || change.roles != nil || customRoles != nil || change.isActive != nil else {
      return (.unchanged, nil)
    }
    _ = try await store.updateUser(id: old.id, change)
    return (.changed, nil)
  }

  /// The password is one that nobody knows; the token is the way in.
  private func create(_ account: Account) async throws -> String {
    let secret = SecureRandom.bytes(count: 32).map { String($0, radix: 16) }.joined()
    let user = try await store.createUser(
      NewUser(
        email: account.email, name: account.name ?? "", passwordHash: hasher.hash(Password(secret)),
        roles: account.roles ?? [], customRoles: account.customRoles ?? [], isActive: account.isActive ?? true))
    let token = ResetToken()
    try await store.createPasswordReset(
      userID: user.id, digest: token.digest, expiresAt: Date(timeIntervalSinceNow: Self.resetSeconds)) { _ in }
    return token.text
  }
}
