import ArgumentParser
import ControlProtocol
import Foundation

struct Sluice: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sluice",
    abstract: "Decide about packets: rules, interfaces, captures and counters of Sluice.",
    discussion: """
      Commands talk to the API (--api, SLUICE_API) as the account of `sluice login`. With --socket they talk straight \
      to sluiced on this machine: status, interfaces, attach, detach, apply --file, confirm, withdraw, counters, events, capture, \
      wire and flows work without the API, for whoever may open the socket.

      EXAMPLES
        sluice login admin@localhost.local
        sluice rule-set create edge --default pass
        sluice rule add edge no-telnet --protocol tcp --destination-port 23 --action drop
        sluice attach eth0 --rule-set edge
        sluice counters eth0 --watch
        sluice --generate-completion-script bash > /etc/bash_completion.d/sluice

      EXIT STATUS
        0 done   1 failed   2 wrong usage or value   3 not signed in   4 forbidden
        5 not found   6 conflict   7 the API, the daemon or the database cannot be reached
      """,
    subcommands: [
      Login.self, Logout.self, WhoAmI.self, PasswordCommand.self, SecondFactorCommand.self, SessionCommand.self,
      UserCommand.self, TeamCommand.self, ResourceCommand.self, RoleCommand.self, ClientCommand.self, AuditCommand.self,
      Status.self, Interfaces.self, Attach.self, Detach.self,
      RuleSetCommand.self, RuleCommand.self, SetCommand.self, RulesCommand.self, Apply.self, Confirm.self,
      Withdraw.self,
      Counters.self, Events.self, WebhookCommand.self, CaptureCommand.self, WireCommand.self, FlowsCommand.self,
      Generate.self, BenchCommand.self,
    ])
}

@main
enum Main {
  static func main() async {
    let isJSON = CommandLine.arguments.contains { $0 == "--json" || $0 == "-j" }
    do {
      var command = try Sluice.parseAsRoot()
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
    } catch let error as CommandError {
      fail(error, isJSON: isJSON)
    } catch let error as ControlError {
      fail(CommandError(error), isJSON: isJSON)
    } catch let error as CancellationError {
      fail(CommandError(.failure, "cancelled", "\(error)"), isJSON: isJSON)
    } catch {
      // Help, version, completions and what a command asks for end as the parser would end them.
      let status = Sluice.exitCode(for: error)
      if status == .success || error is ExitCode { Sluice.exit(withError: error) }
      guard status == .validationFailure else {
        fail(CommandError(.failure, "failed", Sluice.message(for: error)), isJSON: isJSON)
      }
      if isJSON {
        fail(.usage(Sluice.message(for: error)), isJSON: true)
      }
      Terminal.printError(Sluice.fullMessage(for: error))
      exit(ExitStatus.usage.rawValue)
    }
  }

  private static func fail(_ error: CommandError, isJSON: Bool) -> Never {
    Terminal.printError(isJSON ? error.json.text() : error.text)
    exit(error.status.rawValue)
  }
}
