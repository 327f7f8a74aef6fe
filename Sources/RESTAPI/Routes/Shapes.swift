import Foundation
import Identity
import Rules

/// Shapes that several routes share.
enum Shapes {
  /// A password somebody types to prove who they are: no policy, only a limit.
  static let typedPassword = Schema.string(StringShape(bytes: 1...1024, isSecret: true))
  /// A password to be set; the policy is checked with the account's address at hand.
  static let newPassword = Schema.string(
    StringShape(
      bytes: 12...1024, characters: PasswordPolicy.characterCountRange, format: "password", isSecret: true))

  static let email = Schema.string(
    StringShape(bytes: 1...Email.byteCountMax, format: "email") { text in
      do throws(EmailError) { _ = try Email(text) } catch { return error.description }
      return nil
    })

  /// Names of rule sets, rules and nodes.
  static let name = Schema.string(
    StringShape(
      bytes: 1...Limits.nameByteCountMax, pattern: "^[a-z0-9][a-z0-9._-]{0,\(Limits.nameByteCountMax - 1)}$"
    ) { isValidName($0) ? nil : "may have a-z, 0-9, '.', '_' and '-', and starts with a letter or a digit" })

  /// Name of a network interface: what the kernel allows.
  static let interface = Schema.string(
    StringShape(bytes: 1...Limits.interfaceNameByteCountMax, check: { interfaceNameFault($0) }))

  /// A point in time, RFC 3339.
  static let time = Schema.string(
    StringShape(bytes: 1...40, format: "date-time") { text in
      date(text) == nil ? "is no time: write 2026-01-31T12:00:00Z" : nil
    })

  static func date(_ text: String) -> Date? {
    let fractional = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
    return (try? Date(text, strategy: .iso8601)) ?? (try? Date(text, strategy: fractional))
  }

  static let fate = Schema.words(Fate.allCases.map(\.rawValue))
  static let uuid = Schema.string(format: "uuid")

  static let author = Schema.named(
    "Author", .object([.required("user_id", .nullable(uuid)), .required("email", .string())]))
}
