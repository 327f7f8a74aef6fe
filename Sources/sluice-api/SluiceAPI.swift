import ArgumentParser
import ControlProtocol
import Foundation
import Settings

/// The REST API: wiring only.
@main
struct SluiceAPI: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sluice-api",
    abstract: "The REST API of Sluice: accounts, rule sets, attachments, counters and captures.",
    discussion: """
      Runs in the foreground without any privilege. Keeps accounts, rules and their revisions in SQLite, PostgreSQL or
      MariaDB and tells the daemons (sluiced) what to do through their unix sockets. Packets are decided without it: stopping
      it changes nothing for them.

      The first start makes the account admin@localhost.local with the password admin123, which can do nothing but
      change that password. Until then sluice-api listens on loopback only.

      With api.tls_certificate and api.tls_key it speaks TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2; without them plain
      HTTP/1.1, for this machine or a proxy in front. SIGHUP reads the certificate and the keys of tokens again and drops
      no connection.
      The API is described at /api/v1/openapi.json, for people at /api/v1/docs; /healthz, /readyz and /metrics are on the same port.

      EXAMPLES
        sluice-api -v
        DB_TYPE=postgresql DB_HOST=db DB_PASS=… sluice-api --config /etc/sluice/sluice.yaml
        DB_TYPE=mysql DB_HOST=db DB_PASS=… DB_TLS=verify sluice-api     # MariaDB, alone or a Galera cluster
        sluice-api --set api.port=8081 --check
        sluice-api --set api.tls_certificate=/etc/sluice/api.pem --set api.tls_key=/etc/sluice/api.key

      SETTINGS: key in the file, environment variable, meaning [default]. --set beats the environment, which beats the
      file.
      \(Setting.describe(.api))

      EXIT CODES: 0 stopped as asked; 1 could not start or run; 64 wrong usage or settings.
      """,
    version: SluiceVersion.current,
    subcommands: [
      KeysCommand.self, RekeyCommand.self, SeedCommand.self, BackupCommand.self, RestoreCommand.self,
    ])

  @OptionGroup var options: SettingOptions

  @Flag(name: .shortAndLong, help: "Log more: -v info (every request), -vv debug, -vvv trace.")
  var verbose: Int

  @Flag(help: "Check the settings and end.")
  var check = false

  func run() async throws {
    let settings = try options.load()
    if check {
      print("settings are valid")
      return
    }
    do {
      try await APIProcess(settings: settings, verbosity: verbose).run()
    } catch {
      FileHandle.standardError.write(Data("sluice-api: \(error)\n".utf8))
      throw ExitCode.failure
    }
  }
}
