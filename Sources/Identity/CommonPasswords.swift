/// A public list of common passwords: those of the 20,000 most used that have ten characters or more, in lower
/// case, one a line (compiled by Royce Williams from passwords that leaked).
enum CommonPasswords {
  private static let all: Set<String> = Set(
    String(decoding: PackageResources.common_passwords_txt, as: UTF8.self).split(separator: "\n").map(String.init))

  static var count: Int { all.count }

  /// - Parameter password: in lower case.
  static func contains(_ password: String) -> Bool { all.contains(password) }
}
