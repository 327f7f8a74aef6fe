import ArgumentParser
import Foundation

/// Accounts, for administrators.
struct UserCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "user", abstract: "Accounts: who may sign in, and as what.",
    discussion: """
      EXAMPLES
        sluice user create ops@example.org --role Maintainer --password-stdin < password.txt
        sluice user update ops@example.org --role Viewer --custom-role customer-a
        sluice user reset-password ops@example.org       # prints a token: sluice password reset
        sluice user reset-second-factor ops@example.org
      """,
    subcommands: [
      List.self, Create.self, Update.self, Delete.self, ResetPassword.self, ResetSecondFactor.self,
    ])

  /// The id of an account that is named by its address or id.
  static func id(of name: String, _ api: APIClient) async throws -> String {
    if UUID(uuidString: name) != nil { return name }
    let address = name.trimmingCharacters(in: .whitespaces).lowercased()
    let found = try await api.list("/users", query: [("search", address)])
    guard let id = found.first(where: { $0["email"].string == address })?["id"].string else {
      throw CommandError(.notFound, "not_found", "there is no account '\(Terminal.safe(name))'")
    }
    return id
  }

  struct Fields: ParsableArguments {
    @Option(name: .customLong("name"), help: "The person's name.")
    var fullName: String?
    @Option(name: .customLong("role"), parsing: .upToNextOption, help: "Built-in roles: Admin, Maintainer, Viewer.")
    var roles: [String] = []
    @Option(name: .customLong("custom-role"), parsing: .upToNextOption, help: "Roles made with `sluice role create`.")
    var customRoles: [String] = []
    @Flag(help: "Only the password can be changed after signing in.")
    var mustChangePassword = false
    @Flag(help: "Read the password from standard input, its first line.")
    var passwordStdin = false

    func fields() throws -> [String: JSON] {
      var fields: [String: JSON] = [:]
      if let fullName { fields["name"] = .string(fullName) }
      if !roles.isEmpty { fields["roles"] = .strings(roles) }
      if !customRoles.isEmpty { fields["custom_roles"] = .strings(customRoles) }
      if mustChangePassword { fields["must_change_password"] = true }
      if passwordStdin { fields["password"] = .string(try Prompt.standardInputLine()) }
      return fields
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "All accounts, by address.")
    @OptionGroup var order: SortOptions
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let users = try await api.list("/users", query: order.query)
        var table = Table("EMAIL", "NAME", "ACTIVE", "ROLES", "CUSTOM ROLES", "2ND FACTOR", "LAST SIGN-IN")
        for user in users {
          table.add(
            user["email"].cell, user["name"].cell, user["is_active"].cell, user["roles"].cell,
            user["custom_roles"].cell, user["has_second_factor"].cell, user["last_sign_in_at"].cell)
        }
        options.output.write(.array(users), table.text)
      }
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Create an account.")
    @Argument(help: "The email.")
    var email: String
    @OptionGroup var fields: Fields
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body = try fields.fields()
      body["email"] = .string(email)
      if body["roles"] == nil { body["roles"] = [] }
      if body["password"] == nil { body["password"] = .string(try Prompt.secret("Password of the account: ")) }
      let request = JSON.object(body)
      try await options.withAPI { api in
        let user = try await api.call(.post, "/users", body: request)["data"]
        options.output.write(user, "created \(user["email"].cell): \(user["scopes"].cell)")
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change an account. Other roles, a new password or --disable ends its sessions.")
    @Argument(help: "The account's email or id.")
    var user: String
    @OptionGroup var fields: Fields
    @Flag(help: "Let it sign in again.")
    var enable = false
    @Flag(help: "Put it on hold.")
    var disable = false
    @Flag(help: "Take all its roles away.")
    var noRoles = false
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body = try fields.fields()
      guard !enable || !disable, !noRoles || (fields.roles + fields.customRoles).isEmpty else {
        throw CommandError.usage("--enable and --disable exclude each other, and so do --no-roles and roles")
      }
      if enable || disable { body["is_active"] = .bool(enable) }
      if noRoles { (body["roles"], body["custom_roles"]) = ([], []) }
      guard !body.isEmpty else { throw CommandError.usage("nothing to change: name an option, see --help") }
      let request = JSON.object(body)
      try await options.withAPI { api in
        let path = APIClient.path("users", try await UserCommand.id(of: user, api))
        let changed = try await api.call(.patch, path, body: request)["data"]
        options.output.write(changed, "\(changed["email"].cell): \(changed["scopes"].cell)")
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete an account; the last active Admin stays.")
    @Argument(help: "The account's email or id.")
    var user: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        _ = try await api.call(.delete, APIClient.path("users", try await UserCommand.id(of: user, api)))
        options.output.write(["user": .string(user), "deleted": true], "deleted \(Terminal.safe(user))")
      }
    }
  }

  struct ResetPassword: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "reset-password", abstract: "Make a token to set the account's password with, and print it, this once.",
      discussion: "Hand it over on a safe way: `sluice password reset` takes it, once, within --minutes.")
    @Argument(help: "The account's email or id.")
    var user: String
    @Option(help: "How long it is good, 5 to 1440.")
    var minutes = 60
    @OptionGroup var options: APIOptions

    func run() async throws {
      guard (5...1440).contains(minutes) else { throw CommandError.usage("--minutes is 5 to 1440") }
      try await options.withAPI { api in
        let path = APIClient.path("users", try await UserCommand.id(of: user, api), "password-reset")
        let made = try await api.call(.post, path, body: ["expires_in_seconds": .integer(Int64(minutes * 60))])["data"]
        options.output.write(made, "\(made["token"].cell)\ngood once, until \(made["expires_at"].cell)")
      }
    }
  }

  struct ResetSecondFactor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "reset-second-factor",
      abstract: "Take an account's second factor away, for somebody who has lost it. Ends its sessions.")
    @Argument(help: "The account's email or id.")
    var user: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let path = APIClient.path("users", try await UserCommand.id(of: user, api), "second-factor")
        _ = try await api.call(.delete, path)
        options.output.write(["user": .string(user), "deleted": true], "\(Terminal.safe(user)) has no second factor now")
      }
    }
  }
}
