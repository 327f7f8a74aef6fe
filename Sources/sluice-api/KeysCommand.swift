import ArgumentParser
import ControlProtocol
import Foundation
import Identity
import RESTAPI
import Settings

/// The options that say which settings count.
struct SettingOptions: ParsableArguments {
  @Option(help: "Settings file. Without it: $SLUICE_CONFIG, else \(Setting.standardFile) if it is there.")
  var config: String?

  @Option(
    name: .customLong("set"), help: ArgumentHelp("One setting, by its key; may be repeated.", valueName: "key=value"))
  var overrides: [String] = []

  func load() throws -> APISettings {
    do {
      return try APISettings.load(
        flags: SettingFlags.parse(overrides), environment: ProcessInfo.processInfo.environment, file: config)
    } catch {
      throw ValidationError("\(error)")
    }
  }
}

/// The keys that sign access tokens, in the folder of the settings.
struct KeysCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keys", abstract: "The keys that sign access tokens.",
    discussion: """
      One key signs, the ones before it are accepted until the last tokens that they signed have expired. Keys are files
      in \(Setting.tokenKeysDirectory.key); copies of the API on other machines need the same files. A running API reads
      them again within half a minute, and at SIGHUP. Others verify with /.well-known/jwks.json.

      EXAMPLES
        sluice-api keys list
        sluice-api keys rotate               # every few months; nobody is signed out
        sluice-api keys rotate --now && sluice-api keys retire OLD && systemctl reload sluice-api   # somebody else has it
      """,
    subcommands: [List.self, Rotate.self, Retire.self])

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Every key, what it does and since when.")
    @OptionGroup var settings: SettingOptions
    @Flag(name: .shortAndLong, help: "Print JSON.")
    var json = false

    func run() throws {
      try Report.catching { try Report.write(TokenKeys(settings.load()).reload(), isJSON: json) }
    }
  }

  struct Rotate: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a key that takes over.",
      discussion: """
        The new key signs after \(Int(TokenKeys.activationDelay)) s, when every copy of the API and everybody who verifies tokens can have read it.
        Tokens of the old one are accepted until they expire.
        """)
    @Flag(help: "It signs at once.")
    var now = false
    @OptionGroup var settings: SettingOptions
    @Flag(name: .shortAndLong, help: "Print JSON.")
    var json = false

    func run() throws {
      try Report.catching {
        let at = Date()
        let ring = try TokenKeys(settings.load()).rotate(
          activeFrom: at.addingTimeInterval(now ? 0 : TokenKeys.activationDelay),
          lifetime: AccessTokens.Settings().lifetimeWithLeeway, at: at)
        try Report.write(ring, isJSON: json)
      }
    }
  }

  struct Retire: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take a key away: its tokens are accepted no more.",
      discussion: "For a key that somebody else may have. The one that signs cannot be retired: rotate --now first.")
    @Argument(help: "The key's id, as `keys list` shows it.")
    var id: String
    @OptionGroup var settings: SettingOptions
    @Flag(name: .shortAndLong, help: "Print JSON.")
    var json = false

    func run() throws {
      try Report.catching { try Report.write(TokenKeys(settings.load()).retire(id, at: Date()), isJSON: json) }
    }
  }
}

/// What the commands print: never a key itself.
private enum Report {
  /// Failures as the program prints them.
  static func catching(_ body: () throws -> Void) throws {
    do { try body() } catch let error as ValidationError { throw error } catch {
      Maintenance.say("sluice-api: \(error)")
      throw ExitCode.failure
    }
  }

  private struct Row: Encodable {
    let id: String
    let algorithm: String
    let state: String
    let created_at: Date
    let active_from: Date
    let ends_at: Date?
  }

  static func write(_ ring: KeyRing, isJSON: Bool) throws {
    let now = Date()
    let rows = ring.keys.map { key in
      Row(
        id: key.id, algorithm: key.key.algorithm.rawValue, state: ring.state(of: key, at: now).rawValue,
        created_at: key.createdAt, active_from: key.activeFrom, ends_at: key.endsAt)
    }
    guard !isJSON else { return try Maintenance.printJSON(rows) }
    for row in rows {
      let end = row.ends_at.map { ", accepted until \($0.formatted(.iso8601))" } ?? ""
      print("\(row.id)  \(row.algorithm)  \(row.state) since \(row.active_from.formatted(.iso8601))\(end)")
    }
  }
}
