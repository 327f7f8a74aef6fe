import ArgumentParser
import Foundation

/// Your second factor: codes of an authenticator app.
struct SecondFactorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "second-factor", abstract: "Your second factor: codes of an authenticator app.",
    discussion: """
      With a second factor, signing in takes the password and a code of the app (or a recovery code, each good once).

      EXAMPLES
        sluice second-factor enable          # asks for the password, shows the secret, asks for a code of the app
        sluice second-factor status
        sluice second-factor recovery-codes
      """,
    subcommands: [Status.self, Enable.self, Confirm.self, RecoveryCodes.self, Disable.self])

  struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Whether you have one, and must have one.")
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let state = try await api.call(.get, "/auth/second-factor")["data"]
        let since = state["enabled_at"] == .null ? "" : " since \(state["enabled_at"].cell)"
        options.output.write(
          state,
          """
          enabled: \(state["is_enabled"].cell)\(since)
          required by a role: \(state["is_required"].cell)
          recovery codes left: \(state["recovery_codes_left"].cell)
          """)
      }
    }
  }

  struct Enable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set it up: a secret for the app, then a code of the app.",
      discussion: """
        At a terminal it asks for both. With --password-stdin it prints the secret; then `sluice second-factor confirm`.
        Ends your other sessions.
        """)
    @Flag(help: "Read the password from standard input, its first line, and don't ask for a code.")
    var passwordStdin = false
    @OptionGroup var options: APIOptions

    func run() async throws {
      let password = try passwordStdin ? Prompt.standardInputLine() : Prompt.secret("Password: ")
      try await options.withAPI { api in
        let made = try await api.call(
          .post, "/auth/second-factor", body: ["current_password": .string(password)])["data"]
        let text = "secret: \(made["secret"].cell)\nfor a QR code: \(made["uri"].cell)"
        guard !passwordStdin else { return options.output.write(made, text) }
        Terminal.printError(text)
        try await confirm(try Prompt.secret("Code of the app: "), api, options.output)
      }
    }
  }

  struct Confirm: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show that the app makes the right codes. Prints the recovery codes, this once.")
    @Argument(help: "The code that the app shows now.")
    var code: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in try await confirm(code, api, options.output) }
    }
  }

  struct RecoveryCodes: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "recovery-codes", abstract: "New recovery codes, printed this once; the old ones end.")
    @Option(help: "A code of the app. Asked for where it is missing.")
    var code: String?
    @OptionGroup var options: APIOptions

    func run() async throws {
      let code = try code ?? Prompt.secret("Code of the app: ", insteadOf: "--code")
      try await options.withAPI { api in
        write(
          try await api.call(.post, "/auth/second-factor/recovery-codes", body: ["code": .string(code)])["data"],
          options.output)
      }
    }
  }

  struct Disable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Sign in with the password alone again; not while a role of yours requires a second factor.")
    @Option(help: "A code of the app, or a recovery code. Asked for where it is missing.")
    var code: String?
    @Flag(help: "Read the password from standard input, its first line.")
    var passwordStdin = false
    @OptionGroup var options: APIOptions

    func run() async throws {
      let password = try passwordStdin ? Prompt.standardInputLine() : Prompt.secret("Password: ")
      let code = try code ?? Prompt.secret("Code: ", insteadOf: "--code")
      try await options.withAPI { api in
        let answer = try await api.call(
          .post, "/auth/second-factor/disable", body: ["current_password": .string(password), "code": .string(code)])
        options.output.write(answer["data"], "second factor disabled")
      }
    }
  }

  private static func confirm(_ code: String, _ api: APIClient, _ output: Output) async throws {
    write(try await api.call(.post, "/auth/second-factor/confirm", body: ["code": .string(code)])["data"], output)
  }

  private static func write(_ codes: JSON, _ output: Output) {
    output.write(
      codes,
      (["recovery codes, each good once; keep them where the phone is not:"]
        + codes["recovery_codes"].elements.map { "  \($0.cell)" }).joined(separator: "\n"))
  }
}
