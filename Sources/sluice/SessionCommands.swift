import ArgumentParser
import Foundation
import Glibc

struct Login: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Sign in to the API.",
    discussion: """
      Keeps the tokens in $XDG_CONFIG_HOME/sluice/credentials.json (mode 0600) and renews them by itself.

      EXAMPLES
        sluice login admin@localhost.local
        sluice login ops@example.org --password-stdin < password.txt
        sluice login ops@example.org --code 123456      # asked for at a terminal where it is missing
      """)

  @Argument(help: "The account's email. Asked for where it is missing.")
  var email: String?

  @Flag(help: "Read the password from standard input, its first line.")
  var passwordStdin = false

  @Option(help: "A code of the authenticator app, or a recovery code, for an account with a second factor.")
  var code: String?

  @OptionGroup var options: APIOptions

  func run() async throws {
    let email = try email ?? Prompt.line("Email: ")
    let password = try passwordStdin ? Prompt.standardInputLine() : Prompt.secret("Password: ")
    try await options.withAPI { api in
      let answer = try await signIn(email, password, api)
      let mustChange = answer["must_change_password"].bool ?? false
      options.output.write(
        ["user": answer["user"], "must_change_password": .bool(mustChange)],
        "signed in to \(api.base) as \(answer["user"]["email"].cell)")
      if answer["credentials_changed_at"] != .null {
        options.output.note(
          "since your last sign-in your password or second factor was changed, at \(answer["credentials_changed_at"].cell): "
            + "if that wasn't you, tell an administrator")
      }
      if mustChange { options.output.note("this password must be changed first: sluice password change") }
      if answer["must_set_up_second_factor"].bool == true {
        options.output.note("a second factor must be set up first: sluice second-factor enable")
      }
    }
  }

  /// In one step or, with a second factor, in two.
  private func signIn(_ email: String, _ password: String, _ api: APIClient) async throws -> JSON {
    do {
      return try await api.beginSession("/auth/login", ["email": .string(email), "password": .string(password)])
    } catch let error as CommandError where error.code == "second_factor_required" {
      guard let challenge = error.details["challenge"].string else { throw error }
      let code = try code ?? Prompt.secret("Code of the app, or a recovery code: ", insteadOf: "--code")
      return try await api.beginSession(
        "/auth/login/second-factor", ["challenge": .string(challenge), "code": .string(code)])
    }
  }
}

struct Logout: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "End the session, at the API and here.")
  @OptionGroup var options: APIOptions

  func run() async throws {
    try await options.withAPI { api in
      do {
        try await api.endSession()
      } catch let error as CommandError where error.status == .notAuthenticated {
        // It had ended already.
      }
      options.output.write(["signed_out": true], "signed out of \(api.base)")
    }
  }
}

struct WhoAmI: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "whoami", abstract: "The signed-in account, its roles and scopes.")
  @OptionGroup var options: APIOptions

  func run() async throws {
    try await options.withAPI { api in
      let me = try await api.call(.get, "/auth/me")["data"]
      let user = me["user"] == .null ? me : me["user"]
      options.output.write(
        me,
        """
        \(user["email"].cell) at \(api.base)
        roles:  \(user["roles"].elements.map(\.cell).joined(separator: ", "))
        scopes: \(user["scopes"].elements.map(\.cell).joined(separator: " "))
        """)
    }
  }
}

struct PasswordCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "password", abstract: "Your password.", subcommands: [Change.self, Reset.self])

  struct Reset: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set a forgotten password with the token that an administrator has made for you.",
      discussion: """
        EXAMPLES
          sluice password reset                # asks for the token and the password
          printf '%s\\n%s\\n' "$TOKEN" "$NEW" | sluice password reset --stdin
        """)

    @Flag(help: "Read the token and the new password from standard input, one line each.")
    var stdin = false

    @OptionGroup var options: APIOptions

    func run() async throws {
      let token = try stdin ? Prompt.standardInputLine() : Prompt.secret("Token: ", insteadOf: "--stdin")
      let password = try stdin ? Prompt.standardInputLine() : Prompt.secret("New password: ", insteadOf: "--stdin")
      if !stdin {
        guard try Prompt.secret("New password again: ", insteadOf: "--stdin") == password else {
          throw CommandError.usage("the two passwords differ; nothing was changed")
        }
      }
      try await options.withAPI { api in
        try await api.open("/auth/reset-password", ["token": .string(token), "new_password": .string(password)])
        options.output.write(["reset": true], "password set: sign in with `sluice login`")
      }
    }
  }

  struct Change: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change your password.",
      discussion: """
        EXAMPLES
          sluice password change
          printf '%s\\n%s\\n' "$OLD" "$NEW" | sluice password change --password-stdin
        """)

    @Flag(help: "Read the present and the new password from standard input, one line each.")
    var passwordStdin = false

    @OptionGroup var options: APIOptions

    func run() async throws {
      let (current, new) = try passwords()
      try await options.withAPI { api in
        guard let token = try await freshToken(api) else {
          throw CommandError(.notAuthenticated, "unauthenticated", "you are not signed in: run `sluice login`")
        }
        let answer = try await api.beginSession(
          "/auth/change-password", ["current_password": .string(current), "new_password": .string(new)], token: token)
        options.output.write(["user": answer["user"], "must_change_password": false], "password changed")
      }
    }

    /// The access token, renewed if it had ended: asking who we are does that.
    private func freshToken(_ api: APIClient) async throws -> String? {
      _ = try await api.call(.get, "/auth/me")
      return try api.store.credentials(for: api.base)?.accessToken
    }

    private func passwords() throws -> (current: String, new: String) {
      if passwordStdin { return (try Prompt.standardInputLine(), try Prompt.standardInputLine()) }
      let current = try Prompt.secret("Present password: ")
      let new = try Prompt.secret("New password: ")
      guard try Prompt.secret("New password again: ") == new else {
        throw CommandError.usage("the two new passwords differ; nothing was changed")
      }
      return (current, new)
    }
  }
}

struct SessionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "session", abstract: "Your sessions, and who signed in with your account.",
    subcommands: [List.self, Revoke.self, History.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Your sessions, the one used last first.")
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let sessions = try await api.list("/auth/sessions")
        var table = Table("SESSION", "HERE", "FROM", "STARTED", "LAST USED", "EXPIRES", "PROGRAM")
        for session in sessions {
          table.add(
            session["id"].cell, session["is_current"].cell, session["address"].cell, session["started_at"].cell,
            session["last_used_at"].cell, session["expires_at"].cell, session["user_agent"].cell)
        }
        options.output.write(.array(sessions), table.text)
      }
    }
  }

  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "End one of your sessions, or all of them; asks for the password.",
      discussion: "`sluice logout` ends this one; `sluice session list` shows the others.")
    @Argument(help: "The session's id.")
    var id: String?
    @Flag(help: "All of them, this one too.")
    var all = false
    @Flag(help: "Read the password from standard input, its first line.")
    var passwordStdin = false
    @OptionGroup var options: APIOptions

    func validate() throws {
      guard (id == nil) == all else { throw ValidationError("give the id of a session, or --all") }
    }

    func run() async throws {
      let password = try passwordStdin ? Prompt.standardInputLine() : Prompt.secret("Password: ")
      let body: JSON = ["current_password": .string(password)]
      try await options.withAPI { api in
        guard let id else {
          _ = try await api.call(.post, "/auth/logout", body: body)
          try await api.forgetSession()
          return options.output.write(["revoked": true], "ended all your sessions at \(api.base)")
        }
        _ = try await api.call(.delete, APIClient.path("auth", "sessions", id), body: body)
        options.output.write(["id": .string(id), "revoked": true], "ended session \(Terminal.safe(id))")
      }
    }
  }

  struct History: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Who signed in with your account, or tried to, newest first.")
    @Option(help: "Entries at most, 1 to 100000.")
    var limit = 50
    @OptionGroup var order: SortOptions
    @OptionGroup var options: APIOptions

    func run() async throws {
      guard (1...100_000).contains(limit) else { throw CommandError.usage("--limit is 1 to 100000") }
      try await options.withAPI { api in
        let entries = try await api.list("/auth/sign-ins", query: order.query, max: limit)
        var table = Table("AT", "SUCCEEDED", "FROM", "PROGRAM")
        for entry in entries {
          table.add(entry["at"].cell, entry["succeeded"].cell, entry["address"].cell, entry["user_agent"].cell)
        }
        options.output.write(.array(entries), table.text)
      }
    }
  }
}

/// Questions at the terminal.
enum Prompt {
  static func line(_ question: String) throws(CommandError) -> String {
    guard isatty(0) == 1 else { throw .usage("there is no terminal to ask \"\(question)\" on: give it as an argument") }
    Terminal.writeError(question)
    guard let text = readLine(), !text.isEmpty else { throw .usage("nothing was entered") }
    return text
  }

  static func standardInputLine() throws(CommandError) -> String {
    guard let text = readLine(), !text.isEmpty else { throw .usage("standard input holds no password") }
    return text
  }

  /// From the terminal itself, without showing what is typed. Ctrl-C ends the command with the terminal as it was.
  ///
  /// - Parameter option: what says it without a terminal.
  static func secret(
    _ question: String, insteadOf option: String = "--password-stdin"
  ) throws(CommandError) -> String {
    let terminal = open("/dev/tty", O_RDWR | O_CLOEXEC)
    guard terminal >= 0 else { throw .usage("there is no terminal to ask \"\(question)\" on: use \(option)") }
    defer { close(terminal) }
    var before = termios()
    guard tcgetattr(terminal, &before) == 0 else { throw .usage("there is no terminal: use \(option)") }
    var silent = before
    // Byte by byte and without signals: an interrupt must not leave the terminal silent.
    silent.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
    let terminalFile = FileHandle(fileDescriptor: terminal)
    terminalFile.write(Data(question.utf8))
    tcsetattr(terminal, TCSAFLUSH, &silent)
    defer {
      tcsetattr(terminal, TCSAFLUSH, &before)
      terminalFile.write(Data("\n".utf8))
    }
    var typed: [UInt8] = []
    var byte: [UInt8] = [0]
    while read(terminal, &byte, 1) == 1 {
      switch byte[0] {
      case 0x0a, 0x0d: return String(decoding: typed, as: UTF8.self)
      case 0x03, 0x04: throw CommandError(.failure, "cancelled", "cancelled")
      case 0x08, 0x7f:
        while let last = typed.popLast(), last & 0xc0 == 0x80 {}
      case 0x15: typed = []
      default: if typed.count < 4096 { typed.append(byte[0]) }
      }
    }
    throw CommandError(.failure, "cancelled", "the terminal is gone")
  }
}
