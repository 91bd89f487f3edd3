// Applies the theme chosen in the admin to pages outside its frame.
const theme = (localStorage.getItem("adminTheme") ?? '"auto"').replaceAll('"', "");
const dark = theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
document.documentElement.classList.toggle("dark", dark);
